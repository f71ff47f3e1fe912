package cli

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

// logFlags choose how a service logs. Field values and secrets are never logged,
// at any level.
type logFlags struct {
	level  string
	format string
}

func (f *logFlags) add(c *cobra.Command, level string) {
	c.Flags().StringVar(&f.level, "log-level", level, "debug, info, warn or error")
	c.Flags().StringVar(&f.format, "log-format", "text", "text or json")
}

func (f *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, &usageError{fmt.Errorf("--log-level: unknown level %q", f.level)}
	}
	options := &slog.HandlerOptions{Level: level}
	switch f.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, &usageError{fmt.Errorf("--log-format: unknown format %q", f.format)}
}
