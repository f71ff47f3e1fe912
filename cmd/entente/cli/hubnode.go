package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/entente-sync/entente/cmd/entente/config"
	"github.com/entente-sync/entente/hub/admin"
)

// hubFile is the configuration that is taken when none is named.
const hubFile = "hub.yaml"

// nodeFlag names the hub node that a command talks to: by its socket, or by its
// configuration, which says where the socket is.
type nodeFlag struct{ socket, file string }

func (f *nodeFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&f.socket, "socket", "", "admin socket of the node (default: what its configuration says)")
	c.Flags().StringVarP(&f.file, "file", "f", "", "the node's configuration (default: "+hubFile+")")
	c.MarkFlagsMutuallyExclusive("socket", "file")
}

// configuration is the node's file as an operator types it, FILE if it is not known.
func (f *nodeFlag) configuration() string {
	switch {
	case f.file != "":
		return f.file
	case f.socket != "":
		return "FILE"
	}
	return hubFile
}

// at is a command for the same node, to be typed next.
func (f *nodeFlag) at(command string) string {
	switch {
	case f.file != "":
		return command + " -f " + f.file
	case f.socket != "":
		return command + " --socket " + f.socket
	}
	return command
}

func (f *nodeFlag) client() (*admin.Client, error) {
	if f.socket != "" {
		return admin.NewClient(f.socket), nil
	}
	file := f.file
	if file == "" {
		if _, err := os.Stat(hubFile); errors.Is(err, os.ErrNotExist) {
			return nil, &usageError{errors.New("which node? There is no " + hubFile + " here: add -f FILE or --socket PATH")}
		}
		file = hubFile
	}
	socket, err := config.HubSocket(file)
	if err != nil {
		return nil, err
	}
	return admin.NewClient(socket), nil
}
