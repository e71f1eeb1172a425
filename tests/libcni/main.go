// Runs one command of a CNI plugin list through the real libcni, for tests/tests/libcni.rs.
//
//	libcni (ADD|CHECK|DEL|VALIDATE) LIST NETNS IFNAME CONTAINER
//
// LIST is a .conflist file. The environment has the rest: CNI_PATH; LIBCNI_CACHE, a directory; CAPABILITIES, a JSON
// object of what the runtime has to say by capability; CNI_ARGS.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) != 5 {
		return errors.New("usage: libcni COMMAND LIST NETNS IFNAME CONTAINER")
	}
	list, err := libcni.ConfListFromFile(words[1])
	if err != nil {
		return err
	}
	runtime, err := attachment(words[2], words[3], words[4])
	if err != nil {
		return err
	}
	path := filepath.SplitList(os.Getenv("CNI_PATH"))
	cni := libcni.NewCNIConfigWithCacheDir(path, os.Getenv("LIBCNI_CACHE"), nil)
	ctx := context.Background()
	switch words[0] {
	case "ADD":
		result, err := cni.AddNetworkList(ctx, list, runtime)
		if err != nil {
			return err
		}
		return result.Print()
	case "CHECK":
		return cni.CheckNetworkList(ctx, list, runtime)
	case "DEL":
		return cni.DelNetworkList(ctx, list, runtime)
	case "VALIDATE":
		_, err := cni.ValidateNetworkList(ctx, list)
		return err
	}
	return fmt.Errorf("unknown command %s", words[0])
}

func attachment(netns, ifname, container string) (*libcni.RuntimeConf, error) {
	runtime := &libcni.RuntimeConf{NetNS: netns, IfName: ifname, ContainerID: container}
	if text := os.Getenv("CAPABILITIES"); text != "" {
		if err := json.Unmarshal([]byte(text), &runtime.CapabilityArgs); err != nil {
			return nil, fmt.Errorf("CAPABILITIES: %w", err)
		}
	}
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		if key, value, found := strings.Cut(pair, "="); found {
			runtime.Args = append(runtime.Args, [2]string{key, value})
		}
	}
	return runtime, nil
}
