package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	syncv1 "github.com/entente-sync/entente/proto/entente/sync/v1"
)

// Error is why a call or stream failed. Equal on both sides of the wire, except
// for the wrapped cause, which stays where it arose.
type Error struct {
	Reason     Reason
	Message    string        // what exactly, for people; holds no field values
	RetryAfter time.Duration // wait at least this long; 0 leaves it to the agent
	Leader     string        // with ReasonLeaderMoved: host:port

	cause error
}

// Errorf makes an *Error; one %w becomes its cause.
func Errorf(r Reason, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Reason: r, Message: wrapped.Error(), cause: errors.Unwrap(wrapped)}
}

func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Reason) + ": " + Describe(e.Reason).Sentence
	}
	return string(e.Reason) + ": " + e.Message
}

// Unwrap returns the cause, if it arose on this side.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, &Error{Reason: r}) ask for the reason alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// Retryable reports whether the same call may succeed later without anybody acting.
func (e *Error) Retryable() bool { return Describe(e.Reason).Retryable }

// ReasonOf returns the reason of the *Error in err's chain, "" if there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// toStatus makes the status that carries err. An error that is neither an
// *Error nor a context's reaches the caller as ReasonHubInternal without its
// text: whoever made it logs it.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	switch {
	case ok:
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		if s, ok := status.FromError(err); ok {
			return s.Err() // of grpc itself, such as a broken stream
		}
		e = &Error{Reason: ReasonHubInternal}
	}
	message := e.Message
	if message == "" {
		message = Describe(e.Reason).Sentence
	}
	s := status.New(Describe(e.Reason).Code, message)
	detailed, err := s.WithDetails(&syncv1.ErrorDetail{
		Reason: string(e.Reason), RetryAfterMs: millisUp(e.RetryAfter), Leader: e.Leader,
	})
	if err != nil {
		return s.Err()
	}
	return detailed.Err()
}

// toStreamStatus is toStatus where io.EOF itself, the end of the caller's side,
// is a good end too. An error that wraps io.EOF is an error.
func toStreamStatus(err error) error {
	if err == io.EOF { //nolint:errorlint // see above
		return nil
	}
	return toStatus(err)
}

// fromStatus reads what a call of the generated client returned.
func fromStatus(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range s.Details() {
		if detail, ok := d.(*syncv1.ErrorDetail); ok && detail.GetReason() != "" {
			return &Error{
				Reason: Reason(detail.GetReason()), Message: s.Message(),
				RetryAfter: time.Duration(detail.GetRetryAfterMs()) * time.Millisecond,
				Leader:     detail.GetLeader(), cause: err,
			}
		}
	}
	switch s.Code() {
	case codes.Canceled:
		return fmt.Errorf("%w: %s", context.Canceled, s.Message())
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %s", context.DeadlineExceeded, s.Message())
	}
	return &Error{Reason: reasonOfCode(s.Code()), Message: s.Message(), cause: err}
}

// reasonOfCode is for a status that no Server made: of grpc, or of a proxy.
func reasonOfCode(c codes.Code) Reason {
	switch c {
	case codes.ResourceExhausted:
		return ReasonOversize
	case codes.InvalidArgument:
		return ReasonMalformed
	case codes.Unauthenticated, codes.PermissionDenied:
		return ReasonAuthorUnknown
	case codes.Unimplemented:
		return ReasonVersionNewer
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return ReasonHubInternal
	}
	return ReasonHubUnreachable
}

// millisUp rounds up, so that nobody comes back too early; it saturates.
func millisUp(d time.Duration) uint32 {
	ms := (max(d, 0) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(ms, 1<<32-1))
}
