// Command testlog reads the output of go test -json and prints what a person
// wants of it: a line per package, the whole output of what failed, and at the end
// every skipped test, since go test keeps those to itself. It exits 1 if anything
// failed, and with CI=true also if anything was skipped.
package main

import (
	"fmt"
	"os"
)

func main() {
	s, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(1)
	}
	if !s.ok(os.Getenv("CI") == "true") {
		os.Exit(1)
	}
}
