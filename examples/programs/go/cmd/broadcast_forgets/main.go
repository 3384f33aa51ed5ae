// Wrong: a broadcast that tells each neighbor once. What is told into a partition is lost.
package main

import (
	"encoding/json"
	"log"
	"sync"

	"programs/maelstrom"
)

func main() {
	n := maelstrom.NewNode()
	var mu sync.Mutex
	known, values, neighbors := map[int]bool{}, []int{}, []string{}

	// What clients broadcast, and what neighbors tell, both have this form.
	type body struct {
		Message int `json:"message"`
	}
	learn := func(msg maelstrom.Message) error {
		var told body
		if err := json.Unmarshal(msg.Body, &told); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if known[told.Message] {
			return nil
		}
		known[told.Message] = true
		values = append(values, told.Message)
		for _, neighbor := range neighbors {
			if neighbor == msg.Src {
				continue
			}
			// Nobody knows whether this arrives.
			tell := map[string]any{"type": "tell", "message": told.Message}
			if err := n.Send(neighbor, tell); err != nil {
				return err
			}
		}
		return nil
	}

	n.Handle("topology", func(msg maelstrom.Message) error {
		var body struct {
			Topology map[string][]string `json:"topology"`
		}
		if err := json.Unmarshal(msg.Body, &body); err != nil {
			return err
		}
		mu.Lock()
		neighbors = body.Topology[n.ID()]
		mu.Unlock()
		return n.Reply(msg, map[string]any{"type": "topology_ok"})
	})
	n.Handle("broadcast", func(msg maelstrom.Message) error {
		if err := learn(msg); err != nil {
			return err
		}
		return n.Reply(msg, map[string]any{"type": "broadcast_ok"})
	})
	n.Handle("tell", learn)
	n.Handle("read", func(msg maelstrom.Message) error {
		mu.Lock()
		shown := append([]int{}, values...)
		mu.Unlock()
		return n.Reply(msg, map[string]any{"type": "read_ok", "messages": shown})
	})
	if err := n.Run(); err != nil {
		log.Fatal(err)
	}
}
