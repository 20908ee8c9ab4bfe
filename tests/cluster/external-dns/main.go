// external-dns once through, for a test: its own flags, sources and plan, and its provider in memory.
//
//	external-dns --kubeconfig FILE --provider inmemory --inmemory-zone ZONE --policy sync --source istio-gateway
//
// The flags are external-dns's own. What its provider holds in the end stands on standard output, a record a line, as JSON.
// Its main program is left out: it links the SDK of every cloud there is.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns"
	"sigs.k8s.io/external-dns/pkg/apis/externaldns/validation"
	"sigs.k8s.io/external-dns/plan"
	"sigs.k8s.io/external-dns/provider/inmemory"
	"sigs.k8s.io/external-dns/source"
	"sigs.k8s.io/external-dns/source/annotations"
	"sigs.k8s.io/external-dns/source/wrappers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "external-dns:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	flags := externaldns.NewConfig()
	if err := flags.ParseFlags(arguments); err != nil {
		return err
	}
	if err := validation.ValidateConfig(flags); err != nil {
		return err
	}
	annotations.SetAnnotationPrefix(flags.AnnotationPrefix)
	config, err := source.NewSourceConfig(flags)
	if err != nil {
		return err
	}
	sources, err := wrappers.Build(ctx, config)
	if err != nil {
		return err
	}
	wanted, err := sources.Endpoints(ctx)
	if err != nil {
		return err
	}
	records, err := write(ctx, flags, wanted)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(os.Stdout)
	for _, record := range records {
		if err := lines.Encode(record); err != nil {
			return err
		}
	}
	return nil
}

// write makes the provider hold what is wanted, as the main program does, and gives what it then holds.
func write(ctx context.Context, flags *externaldns.Config, wanted []*endpoint.Endpoint) ([]*endpoint.Endpoint, error) {
	provider := inmemory.NewInMemoryProvider(inmemory.InMemoryInitZones(flags.InMemoryZones))
	wanted, err := provider.AdjustEndpoints(wanted)
	if err != nil {
		return nil, err
	}
	changes := plan.Plan{
		Policies:       []plan.Policy{plan.Policies[flags.Policy]},
		Desired:        wanted,
		ManagedRecords: flags.ManagedDNSRecordTypes,
		ExcludeRecords: flags.ExcludeDNSRecordTypes,
	}
	if err := provider.ApplyChanges(ctx, changes.Calculate().Changes); err != nil {
		return nil, err
	}
	return provider.Records(ctx)
}
