// A Kubernetes API server for tests: kube-apiserver with its etcd, and a few controllers, in one process on loopback.
//
//	apiserver --data FOLDER [--store PROGRAM]
//
// The folder keeps keys, port and state: what is started again on it is the same server, as after a crash. Its path must be
// short, since it holds a socket. The program named, if any, is the store in etcd's place (../kine). Once the server serves, it says `READY kubeconfig=PATH` on standard output; it ends on
// SIGTERM, on SIGINT, and when its standard input is closed, so that it does not outlive the test that started it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// How long until it must serve; a busy machine takes its time.
const startLimit = 3 * time.Minute

// Set by controllers.go where it is built in.
var runControllers func(ctx context.Context, folder string) error

func main() {
	folder := flag.String("data", "", "folder of keys and state")
	program := flag.String("store", "", "program that is the store")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, stop, *folder, *program); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stop context.CancelFunc, folder, program string) error {
	if folder == "" {
		return errors.New("name a folder with --data")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	listener, err := listen(filepath.Join(folder, "port"))
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	token, err := writeKeys(folder, port)
	if err != nil {
		return err
	}
	socket, end, err := startStore(folder, program)
	if err != nil {
		return err
	}
	defer end()
	go announce(ctx, folder, port, token)
	return serve(ctx, folder, listener, socket)
}

// listen takes the port of the last run, or any.
func listen(file string) (net.Listener, error) {
	address := "127.0.0.1:0"
	if last, err := os.ReadFile(file); err == nil {
		address = "127.0.0.1:" + string(last)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return listener, os.WriteFile(file, []byte(strconv.Itoa(port)), 0o600)
}

// startStore gives the socket that the store listens on, and what ends it.
func startStore(folder, program string) (string, func(), error) {
	path := filepath.Join(folder, "s")
	// A killed process leaves its own behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, err
	}
	socket := "unix://" + path
	if program != "" {
		end, err := startProgram(folder, program)
		return socket, end, err
	}
	etcd, err := startEtcd(folder, socket)
	if err != nil {
		return "", nil, err
	}
	return socket, etcd.Close, nil
}

// startProgram starts a store that is a process of its own. It ends when its standard input does, and so with this one.
func startProgram(folder, program string) (func(), error) {
	store := exec.Command(program, "--data", folder)
	store.Stderr = os.Stderr
	input, err := store.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := store.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := store.Start(); err != nil {
		return nil, err
	}
	// It says one word, when it serves.
	if _, err := io.ReadFull(output, make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("%s did not become ready: %w", program, err)
	}
	return func() {
		_ = input.Close()
		_ = store.Wait()
	}, nil
}

func startEtcd(folder, socket string) (*embed.Etcd, error) {
	client, err := url.Parse(socket)
	if err != nil {
		return nil, err
	}
	// Twice this is preallocated.
	wal.SegmentSizeBytes = 8 << 20
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "etcd")
	config.LogLevel = "error"
	config.ListenClientUrls = []url.URL{*client}
	config.ListenPeerUrls = nil
	config.UnsafeNoFsync = true
	config.TickMs, config.ElectionMs = 20, 200
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, fmt.Errorf("etcd: %w", err)
	case <-time.After(startLimit):
		return nil, errors.New("etcd is not ready")
	}
}

// serve runs the API server until the context ends. Its own command is not used: that one takes over the signals.
func serve(ctx context.Context, folder string, listener net.Listener, etcd string) error {
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(arguments(folder, listener, etcd)); err != nil {
		return err
	}
	opts.SecureServing.Listener = listener
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return err
	}
	ready, err := config.Complete()
	if err != nil {
		return err
	}
	server, err := app.CreateServerChain(ready)
	if err != nil {
		return err
	}
	prepared, err := server.PrepareRun()
	if err != nil {
		return err
	}
	return prepared.Run(ctx)
}

func arguments(folder string, listener net.Listener, etcd string) []string {
	in := func(name string) string { return filepath.Join(folder, name) }
	arguments := []string{
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(listener.Addr().(*net.TCPAddr).Port),
		"--advertise-address=127.0.0.1",
		// A loopback address is refused as an endpoint.
		"--endpoint-reconciler-type=none",
		"--etcd-servers=" + etcd,
		"--cert-dir=" + in("generated"),
		"--tls-cert-file=" + in("server.crt"),
		"--tls-private-key-file=" + in("server.key"),
		"--token-auth-file=" + in("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + in("accounts.key"),
		"--service-account-key-file=" + in("accounts.key"),
		// As K3s has them.
		"--service-cluster-ip-range=10.43.0.0/16",
		"--anonymous-auth=false",
		"--authorization-mode=Node,RBAC",
	}
	if runControllers == nil {
		// Nobody makes the accounts that it asks for.
		arguments = append(arguments, "--disable-admission-plugins=ServiceAccount")
	}
	return arguments
}

// announce says READY once the server serves, and starts the controllers.
func announce(ctx context.Context, folder string, port int, token string) {
	if err := awaitReady(ctx, folder, port, token); err != nil {
		if ctx.Err() != nil {
			return
		}
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
	if runControllers != nil {
		go func() {
			if err := runControllers(ctx, folder); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "controllers:", err)
				os.Exit(1)
			}
		}()
	}
	fmt.Printf("READY kubeconfig=%s\n", filepath.Join(folder, "kubeconfig"))
}

func awaitReady(ctx context.Context, folder string, port int, token string) error {
	authority, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for limited.Err() == nil {
		request, err := http.NewRequestWithContext(limited, "GET", fmt.Sprintf("https://127.0.0.1:%d/readyz", port), nil)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := client.Do(request)
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the server is not ready")
}
