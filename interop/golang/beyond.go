package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	bearerGrant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
)

// beyond is what goes beyond RFC 6749.
var beyond = []Case{
	{"x/oauth2", "a token for a resource (RFC 8707)", forAResource},
	{"x/oauth2", "an unknown resource is refused", unknownResource},
	{"x/oauth2", "a client proves itself with the token of a cluster", federated},
	{"x/oauth2", "the token of another pod is refused", federatedWrongly},
	{"x/oauth2", "tls_client_auth, and the token is bound to the certificate", tlsClientAuth},
	{"x/oauth2", "self_signed_tls_client_auth", selfSigned},
	{"x/oauth2", "the certificate of another is refused", certificateOfAnother},
	{"x/oauth2", "an opaque token", opaque},
	{"go-oidc", "an API verifies a token that is signed with EdDSA", signedWithEdDSA},
}

// ofOthers is what Keycloak's dialect has not.
var ofOthers = []Case{
	{"x/oauth2", "token exchange, for a resource (RFC 8693)", exchange},
	{"x/oauth2", "what is no token is not exchanged", exchangeOfNothing},
	{"x/oauth2", "a token of another issuer is a grant (RFC 7523)", bearer},
	{"x/oauth2", "a token of an issuer that only proves clients is no grant", bearerOfNobody},
}

// strict is FAPI 2.0, with a certificate: there is neither private_key_jwt nor DPoP.
var strict = []Case{
	{"x/oauth2", "FAPI 2.0 with a certificate", tlsClientAuth},
}

// ask is a request of `client` with further parameters, and with a certificate if one is presented.
func ask(realm Realm, client Client, params url.Values, presented ...Client) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at, err := endpoint(ctx, realm)
	if err != nil {
		return nil, err
	}
	for _, one := range presented {
		certificate, err := tls.LoadX509KeyPair(one.Certificate, one.Key)
		if err != nil {
			return nil, err
		}
		config := &tls.Config{Certificates: []tls.Certificate{certificate}}
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport})
	}
	style := header
	if client.Secret == "" {
		style = oauth2.AuthStyleInParams
	}
	config := clientcredentials.Config{
		ClientID:       client.ID,
		ClientSecret:   client.Secret,
		TokenURL:       at.TokenURL,
		EndpointParams: params,
		AuthStyle:      style,
	}
	return config.Token(ctx)
}

// verify is what an API does: it fetches the keys, and checks issuer, audience and signature.
func verify(realm Realm, token *oauth2.Token, audience string, claims any, algorithms ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, realm.Issuer)
	if err != nil {
		return err
	}
	config := &oidc.Config{ClientID: audience, SupportedSigningAlgs: algorithms}
	verified, err := provider.Verifier(config).Verify(ctx, token.AccessToken)
	if err != nil {
		return err
	}
	return verified.Claims(claims)
}

// foreign is a token of another issuer.
func foreign(issuer Issuer, subject, audience string) (string, error) {
	block, _ := pem.Decode([]byte(issuer.PEM))
	if block == nil {
		return "", fmt.Errorf("no key of %s", issuer.Issuer)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return "", err
	}
	with := (&jose.SignerOptions{}).WithHeader("kid", issuer.Kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, with)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:   issuer.Issuer,
		Subject:  subject,
		Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(time.Now()),
		Expiry:   jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
	}).Serialize()
}

func forAResource(realm Realm) error {
	token, err := ask(realm, realm.Service, url.Values{"resource": {realm.Resource}})
	if err != nil {
		return err
	}
	return verify(realm, token, realm.Resource, &struct{}{})
}

func unknownResource(realm Realm) error {
	_, err := ask(realm, realm.Service, url.Values{"resource": {"https://other.example"}})
	return realm.refused("resource", err)
}

// pod is a client whose assertion somebody else has signed.
func pod(realm Realm, subject string) (*oauth2.Token, error) {
	assertion, err := foreign(realm.Cluster, subject, realm.Issuer)
	if err != nil {
		return nil, err
	}
	params := url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	return ask(realm, realm.Pod, params)
}

func federated(realm Realm) error {
	_, err := pod(realm, realm.Pod.Subject)
	return err
}

func federatedWrongly(realm Realm) error {
	_, err := pod(realm, realm.Pod.Subject+"2")
	return realm.refused("assertion", err)
}

// tlsClientAuth looks into the token as an API would that is asked with the same certificate (RFC 8705 §3).
func tlsClientAuth(realm Realm) error {
	token, err := ask(realm, realm.Holder, nil, realm.Holder)
	if err != nil {
		return err
	}
	var claims struct {
		Cnf map[string]string `json:"cnf"`
	}
	parts := strings.Split(token.AccessToken, ".")
	if len(parts) != 3 {
		return fmt.Errorf("%s is no JWT", token.AccessToken)
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(realm.Holder.Certificate, realm.Holder.Key)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(certificate.Certificate[0])
	return same(claims.Cnf["x5t#S256"], base64.RawURLEncoding.EncodeToString(digest[:]))
}

func selfSigned(realm Realm) error {
	_, err := ask(realm, realm.Loner, nil, realm.Loner)
	return err
}

func certificateOfAnother(realm Realm) error {
	_, err := ask(realm, realm.Loner, nil, realm.Holder)
	return realm.refused("certificate", err)
}

func opaque(realm Realm) error {
	token, err := ask(realm, realm.Opaque, nil)
	if err != nil {
		return err
	}
	return same(strings.Contains(token.AccessToken, "."), false)
}

func signedWithEdDSA(realm Realm) error {
	token, err := ask(realm, realm.Edwards, nil)
	if err != nil {
		return err
	}
	return verify(realm, token, realm.Audience, &struct{}{}, oidc.EdDSA)
}

func exchange(realm Realm) error {
	own, err := ask(realm, realm.Service, nil)
	if err != nil {
		return err
	}
	token, err := ask(realm, realm.Gateway, url.Values{
		"grant_type":         {exchangeGrant},
		"subject_token":      {own.AccessToken},
		"subject_token_type": {accessType},
		"resource":           {realm.Resource},
	})
	if err != nil {
		return err
	}
	if err := same(token.Extra("issued_token_type"), any(accessType)); err != nil {
		return err
	}
	var claims struct{ Sub string }
	if err := verify(realm, token, realm.Resource, &claims); err != nil {
		return err
	}
	return same(claims.Sub, realm.Service.ID)
}

func exchangeOfNothing(realm Realm) error {
	_, err := ask(realm, realm.Gateway, url.Values{
		"grant_type":         {exchangeGrant},
		"subject_token":      {"nonsense"},
		"subject_token_type": {accessType},
	})
	return realm.refused("subject", err)
}

// job asks with a token of another issuer as the grant.
func job(realm Realm, issuer Issuer) (*oauth2.Token, error) {
	assertion, err := foreign(issuer, "job-1", realm.Issuer)
	if err != nil {
		return nil, err
	}
	return ask(realm, realm.Gateway, url.Values{"grant_type": {bearerGrant}, "assertion": {assertion}})
}

func bearer(realm Realm) error {
	token, err := job(realm, realm.CI)
	if err != nil {
		return err
	}
	var claims struct{ Sub string }
	if err := verify(realm, token, realm.Audience, &claims); err != nil {
		return err
	}
	return same(claims.Sub, "ci:job-1")
}

func bearerOfNobody(realm Realm) error {
	_, err := job(realm, realm.Cluster)
	return realm.refused("bearer", err)
}
