//go:build tools

// Names what is built, for `go mod tidy`.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
