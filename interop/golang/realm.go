package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/oauth2"
)

// A Realm is what the facts say of one.
type Realm struct {
	Name, Dialect, Issuer, Audience string
	Service, Odd, Teller, API       Client
	User                            struct{ Name, Password string }
}

// A Client has a secret.
type Client struct{ ID, Secret string }

// What each dialect calls what is wrong: status and code.
var wrong = map[string]map[string]struct {
	status int
	code   string
}{
	"rfc": {
		"secret":        {401, "invalid_client"},
		"scope":         {400, "invalid_scope"},
		"refresh token": {400, "invalid_grant"},
		"password":      {400, "invalid_grant"},
	},
	"keycloak": {
		"secret":        {401, "unauthorized_client"},
		"scope":         {400, "invalid_scope"},
		"refresh token": {400, "invalid_grant"},
		"password":      {401, "invalid_grant"},
	},
}

// granted is the scope of who asks for `write`: Keycloak adds what a client has by default.
var granted = map[string]string{"rfc": "write", "keycloak": "read write"}

// readRealms reads the file of facts.
func readRealms(path string) ([]Realm, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var facts struct{ Realms []Realm }
	return facts.Realms, json.Unmarshal(text, &facts)
}

// refused says whether a request was refused for this, and the library says so.
func (realm Realm) refused(what string, err error) error {
	if err == nil {
		return fmt.Errorf("what has a wrong %s was granted", what)
	}
	var told *oauth2.RetrieveError
	if !errors.As(err, &told) {
		return err
	}
	expected := wrong[realm.Dialect][what]
	if told.ErrorCode != expected.code || told.Response.StatusCode != expected.status {
		return fmt.Errorf("%d %s instead of %v", told.Response.StatusCode, told.ErrorCode, expected)
	}
	return nil
}

// same says whether something is as expected.
func same[T comparable](found, expected T) error {
	if found != expected {
		return fmt.Errorf("%v instead of %v", found, expected)
	}
	return nil
}
