// Command interop is a client in Go against a running Tokenry: golang.org/x/oauth2, and go-oidc for an API.
//
//	go run . FACTS
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: interop FACTS")
		os.Exit(2)
	}
	realms, err := readRealms(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	failed := false
	for _, realm := range realms {
		for _, one := range realm.cases() {
			line := fmt.Sprintf("%-20s %-9s %s", one.client, realm.Name, one.what)
			if err := one.run(realm); err != nil {
				failed = true
				fmt.Printf("FAILED  %s: %s\n", line, strings.Join(strings.Fields(err.Error()), " "))
			} else {
				fmt.Printf("ok      %s\n", line)
			}
		}
	}
	if failed {
		os.Exit(1)
	}
}
