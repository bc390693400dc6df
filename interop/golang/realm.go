package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/oauth2"
)

// A Realm is what the facts say of one.
type Realm struct {
	Name, Dialect, Profile, Issuer, Audience, Resource string
	Service, Odd, Teller, API, Opaque, Edwards         Client
	Gateway, Pod, Holder, Loner                        Client
	CI, Cluster                                        Issuer
	User                                               struct{ Name, Password string }
}

// A Client has a secret, or a certificate and its key in files, or a subject at another issuer.
type Client struct{ ID, Secret, Certificate, Key, Subject string }

// An Issuer is another one, with what it signs with.
type Issuer struct{ Issuer, Kid, PEM string }

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
		"assertion":     {401, "invalid_client"},
		"certificate":   {401, "invalid_client"},
		"resource":      {400, "invalid_target"},
		"bearer":        {400, "invalid_grant"},
		"subject":       {400, "invalid_request"},
	},
	"keycloak": {
		"secret":        {401, "unauthorized_client"},
		"scope":         {400, "invalid_scope"},
		"refresh token": {400, "invalid_grant"},
		"password":      {401, "invalid_grant"},
		"assertion":     {400, "invalid_client"},
		"certificate":   {401, "invalid_client"},
		"resource":      {400, "invalid_target"},
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

// cases are those that make sense in the realm.
func (realm Realm) cases() []Case {
	switch {
	case realm.Profile == "fapi2":
		return strict
	case realm.Dialect == "rfc":
		return slices.Concat(cases, beyond, ofOthers)
	default:
		return slices.Concat(cases, beyond)
	}
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
