//go:build tools

// Package tools names the programs to build, so that go.mod and go.sum pin all of their sources.
package tools

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
