// Says `port <number>`, then a line for each request that has come to its end: method, target, length of the body.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	handler := func(response http.ResponseWriter, request *http.Request) {
		length, err := io.Copy(io.Discard, request.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Println(request.Method, request.RequestURI, length)
		io.WriteString(response, "seen")
	}
	err = http.Serve(listener, http.HandlerFunc(handler))
	fmt.Fprintln(os.Stderr, err)
}
