package httpcore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// ErrBlocked is wrapped by the error of a dial to a forbidden address.
var ErrBlocked = errors.New("address not allowed")

// guard decides, after name resolution and before every dial, whether an
// address may be reached. So neither redirects nor DNS can lead elsewhere.
type guard struct {
	named    netip.Addr // the configured URL is this very address
	loopback bool       // the configured URL names localhost
	private  bool       // the administrator allows private addresses
}

func newGuard(host string, private bool) guard {
	g := guard{private: private}
	if a, err := netip.ParseAddr(host); err == nil {
		g.named = plain(a)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	g.loopback = host == "localhost" || strings.HasSuffix(host, ".localhost")
	return g
}

// check returns an error that wraps ErrBlocked, or nil.
func (g guard) check(a netip.Addr) error {
	a = plain(a)
	switch {
	case !a.IsValid() || never(a):
		return fmt.Errorf("%w: link-local, metadata, multicast or reserved", ErrBlocked)
	case !inside(a) || g.private || a == g.named || g.loopback && a.IsLoopback():
		return nil
	}
	return fmt.Errorf("%w: private, while the configured address does not name it; allow_private permits it", ErrBlocked)
}

// plain removes zones and unwraps every form that carries an IPv4 address.
func plain(a netip.Addr) netip.Addr {
	a = a.WithZone("").Unmap()
	if !a.Is6() {
		return a
	}
	b := a.As16()
	v4 := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case in(a, "64:ff9b::/96"), in(a, "64:ff9b:1::/48"): // NAT64
		return v4(12)
	case in(a, "::/96") && a != netip.IPv6Loopback() && a != netip.IPv6Unspecified(): // IPv4-compatible
		return v4(12)
	case in(a, "2002::/16"): // 6to4
		return v4(2)
	}
	return a
}

// never are addresses that no business system has.
func never(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || in(a,
		"0.0.0.0/8", "240.0.0.0/4", "192.0.0.0/24", "2001::/32", "fec0::/10",
		"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32") // cloud metadata
}

// inside are addresses of the site's own machine or network.
func inside(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || in(a, "100.64.0.0/10", "198.18.0.0/15")
}

func in(a netip.Addr, prefixes ...string) bool {
	for _, p := range prefixes {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}

func newTransport(g guard) *http.Transport {
	dialer := &net.Dialer{
		Timeout:   10 * time.Second,
		KeepAlive: 30 * time.Second,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: not an address", ErrBlocked)
			}
			return g.check(at.Addr())
		},
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           16,
		MaxIdleConnsPerHost:    8,
		MaxConnsPerHost:        16,
		IdleConnTimeout:        idleConnTimeout,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}
