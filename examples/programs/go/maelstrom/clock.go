package maelstrom

import (
	"context"
	"encoding/json"
	"math/rand"
	"os"
	"time"
)

// hasClock tells a simulator from Maelstrom, where nobody is called "clock".
var hasClock = os.Getenv("NODE_SEED") != ""

// Sleep returns after d.
func (n *Node) Sleep(d time.Duration) {
	if !hasClock {
		time.Sleep(d)
		return
	}
	// Rounded up: who sleeps does not wake early.
	ms := (d + time.Millisecond - 1) / time.Millisecond
	_, _ = n.SyncRPC(context.Background(), "clock", map[string]any{"type": "sleep", "ms": ms})
}

// After calls fn in a goroutine of its own after d.
func (n *Node) After(d time.Duration, fn func()) {
	go func() {
		n.Sleep(d)
		fn()
	}()
}

// Every calls fn again and again, d apart, from when init has come; so call it after that.
func (n *Node) Every(d time.Duration, fn func()) {
	go func() {
		for {
			n.Sleep(d)
			fn()
		}
	}()
}

// Now is the time of day.
func (n *Node) Now() time.Time {
	var body struct {
		NS int64 `json:"ns"`
	}
	if n.askClock("now", &body) {
		return time.Unix(0, body.NS)
	}
	return time.Now()
}

// Random is a number that nobody foresees, but the seed.
func (n *Node) Random() uint64 {
	var body struct {
		Value uint64 `json:"value"`
	}
	if n.askClock("random", &body) {
		return body.Value
	}
	return rand.New(rand.NewSource(time.Now().UnixNano())).Uint64()
}

func (n *Node) askClock(typ string, body any) bool {
	if !hasClock {
		return false
	}
	msg, err := n.SyncRPC(context.Background(), "clock", map[string]any{"type": typ})
	return err == nil && json.Unmarshal(msg.Body, body) == nil
}
