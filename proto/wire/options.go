package wire

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Connection settings of the protocol. An agent pings every clientPing; a hub
// bears twice that rate, since grpc ends a connection that pings too often.
const (
	streamsMax     = 64
	clientPing     = 20 * time.Second
	clientPingMin  = 10 * time.Second
	pingTimeout    = 10 * time.Second
	connectTimeout = 20 * time.Second
	headerBytesMax = 16 << 10 // of one call; ours are below 1 KiB
)

// ServerOptions is how every hub listens; add credentials.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MessageBytesMax),
		grpc.MaxSendMsgSize(MessageBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: clientPingMin, PermitWithoutStream: true,
		}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: clientPing, Timeout: pingTimeout}),
	}
}

// DialOptions is how every agent dials; add credentials.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MessageBytesMax), grpc.MaxCallSendMsgSize(MessageBytesMax),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: clientPing, Timeout: pingTimeout, PermitWithoutStream: true,
		}),
		grpc.WithDisableServiceConfig(),
	}
}
