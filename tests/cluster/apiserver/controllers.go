//go:build kcm

package main

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	utilcompatibility "k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// The loops that a test of a gateway meets: nothing here starts pods or touches nodes.
var loops = []string{
	names.ServiceAccountController,
	names.ServiceAccountTokenController,
	names.NamespaceController,
	names.GarbageCollectorController,
	names.EndpointsController,
	names.EndpointSliceController,
	names.EndpointSliceMirroringController,
	names.RootCACertificatePublisherController,
}

func init() {
	runControllers = controllers
}

func controllers(ctx context.Context, folder string) error {
	opts, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	// The process's own registry is the API server's.
	registry := compatibility.NewComponentGlobalsRegistry()
	gates := utilfeature.DefaultMutableFeatureGate.DeepCopy()
	version := utilcompatibility.DefaultBuildEffectiveVersion()
	if err := registry.Register(compatibility.DefaultKubeComponent, version, gates); err != nil {
		return err
	}
	opts.ComponentGlobalsRegistry = registry
	known, off, aliases := app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()
	flags := pflag.NewFlagSet("controllers", pflag.ContinueOnError)
	for _, set := range opts.Flags(known, off, aliases).FlagSets {
		flags.AddFlagSet(set)
	}
	err = flags.Parse([]string{
		"--kubeconfig=" + filepath.Join(folder, "kubeconfig"),
		"--controllers=" + strings.Join(loops, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--root-ca-file=" + filepath.Join(folder, "ca.crt"),
		"--service-account-private-key-file=" + filepath.Join(folder, "accounts.key"),
	})
	if err != nil {
		return err
	}
	if err := registry.Set(); err != nil {
		return err
	}
	config, err := opts.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	return app.Run(ctx, config.Complete())
}
