package maelstrom

import (
	"context"
	"encoding/json"
)

// KV is one of the services that keep values under keys.
type KV struct {
	service string
	node    *Node
}

// NewLinKV is the linearizable one.
func NewLinKV(node *Node) *KV { return &KV{"lin-kv", node} }

// NewSeqKV is the sequentially consistent one: it may answer with old states.
func NewSeqKV(node *Node) *KV { return &KV{"seq-kv", node} }

// NewLWWKV is the one in which the last write wins.
func NewLWWKV(node *Node) *KV { return &KV{"lww-kv", node} }

// Read is the value of a key; integers are int.
func (kv *KV) Read(ctx context.Context, key string) (any, error) {
	var value any
	if err := kv.ReadInto(ctx, key, &value); err != nil {
		return nil, err
	}
	if number, is := value.(float64); is && number == float64(int(number)) {
		return int(number), nil
	}
	return value, nil
}

// ReadInt is the value of a key, which is an integer.
func (kv *KV) ReadInt(ctx context.Context, key string) (value int, err error) {
	err = kv.ReadInto(ctx, key, &value)
	return value, err
}

// ReadInto puts the value of a key where v points.
func (kv *KV) ReadInto(ctx context.Context, key string, v any) error {
	msg, err := kv.ask(ctx, map[string]any{"type": "read", "key": key})
	if err != nil {
		return err
	}
	var body struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(msg.Body, &body); err != nil {
		return err
	}
	return json.Unmarshal(body.Value, v)
}

// Write sets a key.
func (kv *KV) Write(ctx context.Context, key string, value any) error {
	_, err := kv.ask(ctx, map[string]any{"type": "write", "key": key, "value": value})
	return err
}

// CompareAndSwap sets a key if its value is from, or if there is no such key and
// createIfNotExists.
func (kv *KV) CompareAndSwap(
	ctx context.Context, key string, from, to any, createIfNotExists bool,
) error {
	_, err := kv.ask(ctx, map[string]any{
		"type": "cas", "key": key, "from": from, "to": to,
		"create_if_not_exists": createIfNotExists,
	})
	return err
}

func (kv *KV) ask(ctx context.Context, body any) (Message, error) {
	return kv.node.SyncRPC(ctx, kv.service, body)
}
