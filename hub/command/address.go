package command

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// AddressBytesMax bounds an address: a DNS name, a colon and a port.
const AddressBytesMax = 253 + 1 + 5

// ErrAddress is wrapped by every error of CheckAddress.
var ErrAddress = errors.New("malformed address")

// CheckAddress reports why address is not one that a node may be known by:
// NAME:PORT, where NAME is a DNS name in lower case. What is known of a node
// outlives its place in a network, so an IP address is refused. Loopback
// addresses alone are taken (127.0.0.0/8, [::1]): they never move, and nobody on
// another machine can mistake them for a place to go to.
func CheckAddress(address string) error {
	colon := strings.LastIndexByte(address, ':')
	if len(address) > AddressBytesMax || colon < 0 {
		return fmt.Errorf("%w: %.60q, want NAME:PORT", ErrAddress, address)
	}
	host, port := address[:colon], address[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
		return fmt.Errorf("%w: %q has port %q, want 1 to 65535", ErrAddress, address, port)
	}
	literal := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if ip, err := netip.ParseAddr(literal); err == nil {
		switch {
		case ip.Zone() != "" || ip.Is6() != (host != literal):
			return fmt.Errorf("%w: %q", ErrAddress, address)
		case !ip.IsLoopback():
			return fmt.Errorf("%w: %q is an IP address: name the node in DNS, so that it can move", ErrAddress, address)
		}
		return nil
	}
	return checkName(host)
}

// Loopback reports whether a checked address can be reached from its own machine only.
func Loopback(address string) bool {
	host := address[:strings.LastIndexByte(address, ':')]
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// checkName is for host names as DNS has them, RFC 1123. The last label is no
// number: 1.2.3 would be read as an address by some.
func checkName(host string) error {
	if len(host) > 253 {
		return fmt.Errorf("%w: a name of %d bytes, limit 253", ErrAddress, len(host))
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' ||
			strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("%w: %q is no DNS name in lower case", ErrAddress, host)
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return fmt.Errorf("%w: %q is no DNS name", ErrAddress, host)
	}
	return nil
}
