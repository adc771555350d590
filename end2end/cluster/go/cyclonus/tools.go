//go:build tools

// Names what is built, for `go mod tidy`.
package tools

import _ "github.com/mattfenwick/cyclonus/cmd/cyclonus"
