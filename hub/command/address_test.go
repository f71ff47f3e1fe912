package command_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/entente-sync/entente/hub/command"
)

func TestAddresses(t *testing.T) {
	label := strings.Repeat("a", 63)
	for address, loopback := range map[string]bool{
		"n1.hub.example:7443": false, "hub:1": false, "a-1.b2:65535": false, label + ".x:80": false, "n1.3com:80": false,
		"localhost:7443": true, "127.0.0.1:7443": true, "127.9.9.9:1": true, "[::1]:7443": true,
	} {
		if err := command.CheckAddress(address); err != nil {
			t.Errorf("%s is refused: %v", address, err)
		} else if command.Loopback(address) != loopback {
			t.Errorf("%s: loopback is %v", address, !loopback)
		}
	}
	for _, address := range []string{
		"", ":", "hub", "hub:", ":7443", "hub:0", "hub:07", "hub:+7", "hub:65536", "hub:http", "hub:7:8",
		"10.0.0.1:7443", "8.8.8.8:1", "[2001:db8::1]:7443", "0.0.0.0:1", "[::]:1", "[::1%lo]:1", "::1:7443", "[127.0.0.1]:1",
		"169.254.1.1:1", "1.2.3:80", "Hub.example:1", "hub_1:1", "-a:1", "a-:1", "a..b:1", "a.:1", "h\u00fcb:1", "a b:1",
		label + "a:1", strings.Repeat("a.", 127) + "ab:1", strings.Repeat("x", 300) + ":1", "999.999.999.999:1",
	} {
		if err := command.CheckAddress(address); !errors.Is(err, command.ErrAddress) {
			t.Errorf("%q: %v, want ErrAddress", address, err)
		}
	}
}
