//go:build tools

// Package tools names the program to build, so that go.mod and go.sum pin all of its sources.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
