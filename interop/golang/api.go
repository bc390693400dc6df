package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
)

// newAPI is an API that only looks whether there is a token that looks like one.
func newAPI() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		if !strings.HasPrefix(request.Header.Get("Authorization"), "Bearer ey") {
			answer.WriteHeader(http.StatusUnauthorized)
		}
	}))
}
