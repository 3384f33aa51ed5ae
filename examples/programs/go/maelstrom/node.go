// Package maelstrom is a node that speaks line JSON on stdin and stdout, with the interface of
// Maelstrom's own library for Go: a program for that one needs only another import. Beyond it, a
// node has Sleep, After, Every, Now and Random, which ask the service "clock", so that a run in a
// simulator goes by the simulator's time and is repeated by its seed.
package maelstrom

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

// Message is what goes between nodes.
type Message struct {
	Src  string          `json:"src,omitempty"`
	Dest string          `json:"dest,omitempty"`
	Body json.RawMessage `json:"body,omitempty"`
}

// MessageBody has the keys that any body may have.
type MessageBody struct {
	Type      string `json:"type,omitempty"`
	MsgID     int    `json:"msg_id,omitempty"`
	InReplyTo int    `json:"in_reply_to,omitempty"`
	Code      int    `json:"code,omitempty"`
	Text      string `json:"text,omitempty"`
}

// InitMessageBody is the body of the first message.
type InitMessageBody struct {
	MessageBody
	NodeID  string   `json:"node_id,omitempty"`
	NodeIDs []string `json:"node_ids,omitempty"`
}

// Type is the body's type, or "" where there is none.
func (m *Message) Type() string { return m.head().Type }

// RPCError is the error that the body says, if it says one.
func (m *Message) RPCError() *RPCError {
	head := m.head()
	if head.Type != "error" {
		return nil
	}
	return NewRPCError(head.Code, head.Text)
}

func (m *Message) head() (head MessageBody) {
	_ = json.Unmarshal(m.Body, &head) // what is no body has none of these
	return head
}

// HandlerFunc is called with a message.
type HandlerFunc func(msg Message) error

// Node is this process's node.
type Node struct {
	Stdin  io.Reader
	Stdout io.Writer

	mu        sync.Mutex
	id        string
	ids       []string
	lastID    int
	handlers  map[string]HandlerFunc
	callbacks map[int]HandlerFunc
	running   sync.WaitGroup
}

// NewNode makes a node, whose ID is known once init has come.
func NewNode() *Node {
	return &Node{
		Stdin: os.Stdin, Stdout: os.Stdout,
		handlers: map[string]HandlerFunc{}, callbacks: map[int]HandlerFunc{},
	}
}

// Init sets what init does, for tests.
func (n *Node) Init(id string, nodeIDs []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id, n.ids = id, nodeIDs
}

// ID is this node's name.
func (n *Node) ID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id
}

// NodeIDs are the names of all nodes.
func (n *Node) NodeIDs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ids
}

// Handle has messages of this type handled by fn, each in a goroutine of its own. What fn returns
// as an error is the answer.
func (n *Node) Handle(typ string, fn HandlerFunc) {
	if _, known := n.handlers[typ]; known {
		panic(fmt.Sprintf("two handlers of %q", typ))
	}
	n.handlers[typ] = fn
}

// Run goes on until stdin ends.
func (n *Node) Run() error {
	lines := bufio.NewReader(n.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		var msg Message
		if err := json.Unmarshal(line, &msg); err != nil {
			return fmt.Errorf("%q is no message: %w", line, err)
		}
		if err := n.hear(msg); err != nil {
			return err
		}
	}
	n.running.Wait()
	return nil
}

func (n *Node) hear(msg Message) error {
	head := msg.head()
	if head.InReplyTo != 0 {
		n.mu.Lock()
		callback := n.callbacks[head.InReplyTo]
		delete(n.callbacks, head.InReplyTo)
		n.mu.Unlock()
		if callback != nil { // a second answer has none
			n.goHandle(callback, msg)
		}
		return nil
	}
	handler := n.handlers[head.Type]
	switch {
	case head.Type == "init":
		var body InitMessageBody
		if err := json.Unmarshal(msg.Body, &body); err != nil {
			return err
		}
		n.Init(body.NodeID, body.NodeIDs)
		// Answered before anything that the handler starts.
		if err := n.Reply(msg, map[string]any{"type": "init_ok"}); err != nil {
			return err
		}
		if handler != nil {
			n.goHandle(handler, msg)
		}
	case handler != nil:
		n.goHandle(handler, msg)
	default:
		return n.Reply(msg, NewRPCError(NotSupported, head.Type+" is not known here"))
	}
	return nil
}

func (n *Node) goHandle(handler HandlerFunc, msg Message) {
	n.running.Add(1)
	go func() {
		defer n.running.Done()
		err := handler(msg)
		if err == nil || msg.head().MsgID == 0 {
			return
		}
		known, is := err.(*RPCError)
		if !is {
			known = NewRPCError(Crash, err.Error())
		}
		if err := n.Reply(msg, known); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
}

// Send sends, and forgets.
func (n *Node) Send(dest string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	line, err := json.Marshal(Message{Src: n.id, Dest: dest, Body: text})
	if err != nil {
		return err
	}
	_, err = n.Stdout.Write(append(line, '\n'))
	return err
}

// Reply answers a message.
func (n *Node) Reply(req Message, body any) error {
	keys, err := keysOf(body)
	if err != nil {
		return err
	}
	keys["in_reply_to"] = req.head().MsgID
	return n.Send(req.Src, keys)
}

// RPC sends, and has the answer handled.
func (n *Node) RPC(dest string, body any, handler HandlerFunc) error {
	_, err := n.rpc(dest, body, handler)
	return err
}

func (n *Node) rpc(dest string, body any, handler HandlerFunc) (int, error) {
	keys, err := keysOf(body)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	n.lastID++
	id := n.lastID
	n.callbacks[id] = handler
	n.mu.Unlock()
	keys["msg_id"] = id
	return id, n.Send(dest, keys)
}

// SyncRPC sends, and waits for the answer, or until ctx is done. An answer that is an error is
// returned as one.
func (n *Node) SyncRPC(ctx context.Context, dest string, body any) (Message, error) {
	answer := make(chan Message, 1)
	id, err := n.rpc(dest, body, func(msg Message) error {
		answer <- msg
		return nil
	})
	if err != nil {
		return Message{}, err
	}
	select {
	case msg := <-answer:
		if err := msg.RPCError(); err != nil {
			return msg, err
		}
		return msg, nil
	case <-ctx.Done():
		n.mu.Lock()
		delete(n.callbacks, id)
		n.mu.Unlock()
		return Message{}, ctx.Err()
	}
}

// keysOf is the body as a map that is the caller's own.
func keysOf(body any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	keys := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &keys); err != nil {
		return nil, err
	}
	copied := make(map[string]any, len(keys)+1)
	for key, value := range keys {
		copied[key] = value
	}
	return copied, nil
}
