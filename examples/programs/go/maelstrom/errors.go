package maelstrom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// The codes of errors. Timeout and Crash leave open whether something was done.
const (
	Timeout                = 0
	NotSupported           = 10
	TemporarilyUnavailable = 11
	MalformedRequest       = 12
	Crash                  = 13
	Abort                  = 14
	KeyDoesNotExist        = 20
	KeyAlreadyExists       = 21
	PreconditionFailed     = 22
	TxnConflict            = 30
)

// RPCError is an error as a body says it.
type RPCError struct {
	Code int
	Text string
}

// NewRPCError makes one.
func NewRPCError(code int, text string) *RPCError { return &RPCError{Code: code, Text: text} }

// Error says it in words.
func (e *RPCError) Error() string { return fmt.Sprintf("error %d: %s", e.Code, e.Text) }

// MarshalJSON is the body that says it.
func (e *RPCError) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"type": "error", "code": e.Code, "text": e.Text})
}

// ErrorCode is an error's code: Timeout for a context that is done, -1 for what has none.
func ErrorCode(err error) int {
	var known *RPCError
	switch {
	case errors.As(err, &known):
		return known.Code
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Timeout
	default:
		return -1
	}
}
