package replica

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// newLogger lets the raft libraries log through log. Their text repeats no
// command bytes, so no field value can leak this way.
func newLogger(log *slog.Logger, name string) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: name, Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(logSink{log.With("component", name)})
	return l
}

// logSink implements hclog.SinkAdapter.
type logSink struct{ log *slog.Logger }

func (s logSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Info:
		to = slog.LevelDebug // the library's "info" is one line per step, not per event
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	}
	ctx := context.Background()
	if !s.log.Enabled(ctx, to) {
		return
	}
	attrs := make([]any, 0, len(args))
	for i := 0; i+1 < len(args); i += 2 {
		attrs = append(attrs, slog.Any(fmt.Sprint(args[i]), plain(args[i+1])))
	}
	s.log.Log(ctx, to, msg, attrs...)
}

// plain renders hclog's own formatting type, which slog does not know.
func plain(v any) any {
	if f, ok := v.(hclog.Format); ok && len(f) > 0 {
		if layout, ok := f[0].(string); ok {
			return fmt.Sprintf(layout, f[1:]...)
		}
	}
	return v
}
