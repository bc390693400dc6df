package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// How the client sends its secret.
const (
	found  = oauth2.AuthStyleAutoDetect
	header = oauth2.AuthStyleInHeader
	params = oauth2.AuthStyleInParams
)

// patience is how long a case may take.
const patience = 30 * time.Second

// A Case is one thing that a client does.
type Case struct {
	client, what string
	run          func(Realm) error
}

var cases = []Case{
	{"go-oidc", "discovery, with the issuer compared", discovery},
	{"go-oidc", "an API fetches the keys and verifies the token", verifiedByAnAPI},
	{"x/oauth2", "client_credentials with a secret by Basic", obtains(service, header)},
	{"x/oauth2", "client_credentials with a secret in the form", obtains(service, params)},
	{"x/oauth2", "client_credentials, the way found out by trying", obtains(service, found)},
	{"x/oauth2", "special characters by Basic, as in a query", obtains(odd, header)},
	{"x/oauth2", "special characters in the form", obtains(odd, params)},
	{"x/oauth2", "a wrong secret is refused, and refused again in the form", wrongSecret},
	{"x/oauth2", "a right secret is good after thirty wrong ones", afterGuessing},
	{"x/oauth2", "the scope asked for is granted", scopeAskedFor},
	{"x/oauth2", "a scope of others is refused", scopeOfOthers},
	{"x/oauth2", "password gives a refresh token, and that a new one", passwordAndRefresh},
	{"x/oauth2", "a used refresh token is refused", usedRefreshToken},
	{"x/oauth2", "a wrong password is refused", wrongPassword},
	{"x/oauth2", "a request to an API carries the token", requestToAnAPI},
}

func service(realm Realm) Client { return realm.Service }
func odd(realm Realm) Client     { return realm.Odd }

// endpoint is what the metadata of the realm says.
func endpoint(ctx context.Context, realm Realm) (oauth2.Endpoint, error) {
	provider, err := oidc.NewProvider(ctx, realm.Issuer)
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	return provider.Endpoint(), nil
}

func obtain(realm Realm, client Client, style oauth2.AuthStyle, scopes ...string) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at, err := endpoint(ctx, realm)
	if err != nil {
		return nil, err
	}
	config := clientcredentials.Config{
		ClientID:     client.ID,
		ClientSecret: client.Secret,
		TokenURL:     at.TokenURL,
		Scopes:       scopes,
		AuthStyle:    style,
	}
	return config.Token(ctx)
}

// login is a password, and what refreshes the token that it buys.
func login(ctx context.Context, realm Realm, password string) (*oauth2.Config, *oauth2.Token, error) {
	at, err := endpoint(ctx, realm)
	if err != nil {
		return nil, nil, err
	}
	at.AuthStyle = header
	config := &oauth2.Config{ClientID: realm.Teller.ID, ClientSecret: realm.Teller.Secret, Endpoint: at}
	token, err := config.PasswordCredentialsToken(ctx, realm.User.Name, password)
	return config, token, err
}

func refresh(ctx context.Context, config *oauth2.Config, token string) (*oauth2.Token, error) {
	return config.TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
}

func discovery(realm Realm) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := endpoint(ctx, realm)
	return err
}

func verifiedByAnAPI(realm Realm) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	token, err := obtain(realm, realm.Service, header)
	if err != nil {
		return err
	}
	provider, err := oidc.NewProvider(ctx, realm.Issuer)
	if err != nil {
		return err
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: realm.Audience}).Verify(ctx, token.AccessToken)
	if err != nil {
		return err
	}
	var claims struct {
		ClientID string `json:"client_id"`
	}
	if err := verified.Claims(&claims); err != nil {
		return err
	}
	return same(claims.ClientID, realm.Service.ID)
}

func obtains(client func(Realm) Client, style oauth2.AuthStyle) func(Realm) error {
	return func(realm Realm) error {
		token, err := obtain(realm, client(realm), style)
		if err != nil {
			return err
		}
		return same(token.Type(), "Bearer")
	}
}

func wrongSecret(realm Realm) error {
	_, err := obtain(realm, Client{ID: realm.Service.ID, Secret: "wrong"}, found)
	return realm.refused("secret", err)
}

// Each of its failures is two requests, and none of them may lock out who knows the secret.
func afterGuessing(realm Realm) error {
	for range 20 {
		if _, err := obtain(realm, Client{ID: realm.Odd.ID, Secret: "wrong"}, found); err == nil {
			return errors.New("a wrong secret was granted")
		}
	}
	return obtains(odd, found)(realm)
}

func scopeAskedFor(realm Realm) error {
	token, err := obtain(realm, realm.Service, header, "write")
	if err != nil {
		return err
	}
	return same(token.Extra("scope"), any(granted[realm.Dialect]))
}

func scopeOfOthers(realm Realm) error {
	_, err := obtain(realm, realm.Service, found, "admin")
	return realm.refused("scope", err)
}

func passwordAndRefresh(realm Realm) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, first, err := login(ctx, realm, realm.User.Password)
	if err != nil {
		return err
	}
	second, err := refresh(ctx, config, first.RefreshToken)
	if err != nil {
		return err
	}
	if second.RefreshToken == first.RefreshToken {
		return errors.New("the refresh token stayed the same")
	}
	return nil
}

func usedRefreshToken(realm Realm) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, first, err := login(ctx, realm, realm.User.Password)
	if err != nil {
		return err
	}
	if _, err := refresh(ctx, config, first.RefreshToken); err != nil {
		return err
	}
	_, err = refresh(ctx, config, first.RefreshToken)
	return realm.refused("refresh token", err)
}

func wrongPassword(realm Realm) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _, err := login(ctx, realm, "wrong")
	return realm.refused("password", err)
}

// requestToAnAPI is what most programs do: they never see the token.
func requestToAnAPI(realm Realm) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at, err := endpoint(ctx, realm)
	if err != nil {
		return err
	}
	config := clientcredentials.Config{
		ClientID: realm.Service.ID, ClientSecret: realm.Service.Secret, TokenURL: at.TokenURL,
	}
	api := newAPI()
	defer api.Close()
	answer, err := config.Client(ctx).Get(api.URL)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return same(answer.StatusCode, http.StatusOK)
}
