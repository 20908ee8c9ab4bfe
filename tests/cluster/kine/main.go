// kine, the datastore of K3s, for a test's API server: etcd's protocol on a socket, SQLite behind it.
//
//	kine --data FOLDER
//
// State is in the folder, and so is the socket, `s`. Once it serves, it says `READY` on standard output; it ends, without a
// word as a crash does, when its standard input is closed, so that it does not outlive the API server that started it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/k3s-io/kine/pkg/drivers/generic"
	"github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/endpoint"
	"github.com/sirupsen/logrus"
)

func main() {
	folder := flag.String("data", "", "folder of state and socket")
	flag.Parse()
	// What it has to say goes beside what the API server says.
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.WarnLevel)
	if err := run(*folder); err != nil {
		fmt.Fprintln(os.Stderr, "kine:", err)
		os.Exit(1)
	}
}

func run(folder string) error {
	if folder == "" {
		return errors.New("name a folder with --data")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if _, err := endpoint.Listen(context.Background(), config(folder)); err != nil {
		return err
	}
	fmt.Println("READY")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// config is what kine's own command has as defaults: it refuses zeros.
func config(folder string) endpoint.Config {
	return endpoint.Config{
		Listener: "unix://" + filepath.Join(folder, "s"),
		Endpoint: "sqlite://" + filepath.Join(folder, "state.db") + "?" + sqlite.DefaultParams,
		ConnectionPoolConfig: generic.ConnectionPoolConfig{
			MaxIdle:     20,
			MaxIdleTime: 2 * time.Minute,
		},
		NotifyInterval:      5 * time.Second,
		EmulatedETCDVersion: "3.6.11",
		CompactInterval:     5 * time.Minute,
		CompactTimeout:      5 * time.Second,
		CompactMinRetain:    1000,
		CompactBatchSize:    1000,
		PollBatchSize:       500,
		PollInterval:        time.Second,
	}
}
