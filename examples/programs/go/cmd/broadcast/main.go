// Challenges 3a to 3c: a value goes to each neighbor again and again until that has it.
//
// It is in memory alone: partitions, and nodes that pause, lose nothing; a node that is started
// again has forgotten what it had.
package main

import (
	"encoding/json"
	"log"
	"sync"
	"time"

	"programs/maelstrom"
)

// How long a neighbor may take to acknowledge before it is told again.
const resend = 500 * time.Millisecond

type server struct {
	node *maelstrom.Node

	mu     sync.Mutex
	known  map[int]bool
	values []int
	// What a neighbor has not acknowledged, in order.
	waiting   map[string][]int
	neighbors []string
}

func main() {
	n := maelstrom.NewNode()
	s := &server{node: n, known: map[int]bool{}, waiting: map[string][]int{}}
	n.Handle("topology", s.topology)
	n.Handle("broadcast", s.broadcast)
	n.Handle("tell", s.tell)
	n.Handle("read", s.read)
	n.Handle("init", func(maelstrom.Message) error {
		n.Every(resend, s.tellAgain)
		return nil
	})
	if err := n.Run(); err != nil {
		log.Fatal(err)
	}
}

func (s *server) topology(msg maelstrom.Message) error {
	var body struct {
		Topology map[string][]string `json:"topology"`
	}
	if err := json.Unmarshal(msg.Body, &body); err != nil {
		return err
	}
	s.mu.Lock()
	s.neighbors = body.Topology[s.node.ID()]
	s.mu.Unlock()
	return s.node.Reply(msg, map[string]any{"type": "topology_ok"})
}

func (s *server) broadcast(msg maelstrom.Message) error {
	var body struct {
		Message int `json:"message"`
	}
	if err := json.Unmarshal(msg.Body, &body); err != nil {
		return err
	}
	s.learn([]int{body.Message}, msg.Src)
	return s.node.Reply(msg, map[string]any{"type": "broadcast_ok"})
}

func (s *server) tell(msg maelstrom.Message) error {
	var body struct {
		Values []int `json:"values"`
	}
	if err := json.Unmarshal(msg.Body, &body); err != nil {
		return err
	}
	s.learn(body.Values, msg.Src)
	return s.node.Reply(msg, map[string]any{"type": "told"})
}

func (s *server) read(msg maelstrom.Message) error {
	s.mu.Lock()
	values := append([]int{}, s.values...)
	s.mu.Unlock()
	return s.node.Reply(msg, map[string]any{"type": "read_ok", "messages": values})
}

// learn keeps values and passes them on, but not to where they come from.
func (s *server) learn(values []int, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []int
	for _, value := range values {
		if !s.known[value] {
			s.known[value] = true
			fresh = append(fresh, value)
		}
	}
	if len(fresh) == 0 {
		return
	}
	s.values = append(s.values, fresh...)
	for _, neighbor := range s.neighbors {
		if neighbor != source {
			s.waiting[neighbor] = append(s.waiting[neighbor], fresh...)
			s.send(neighbor, fresh)
		}
	}
}

// send tells a neighbor, and forgets what it acknowledges.
func (s *server) send(neighbor string, values []int) {
	body := map[string]any{"type": "tell", "values": values}
	err := s.node.RPC(neighbor, body, func(maelstrom.Message) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		told := map[int]bool{}
		for _, value := range values {
			told[value] = true
		}
		var left []int
		for _, value := range s.waiting[neighbor] {
			if !told[value] {
				left = append(left, value)
			}
		}
		s.waiting[neighbor] = left
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
}

func (s *server) tellAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, neighbor := range s.neighbors {
		if waiting := s.waiting[neighbor]; len(waiting) > 0 {
			s.send(neighbor, append([]int{}, waiting...))
		}
	}
}
