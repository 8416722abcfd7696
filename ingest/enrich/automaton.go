package enrich

// finding is what a word that was found means.
type finding uint8

const (
	nothing finding = iota
	perhaps         // a regular expression has to decide
	certain
)

// word is something to look for.
type word struct {
	text  string
	means finding
}

// automaton finds any of many words in one pass (Aho and Corasick, 1975). Its
// table has a row for each state and a column for each class of bytes, where
// bytes that no word has share class 0.
type automaton struct {
	class   [256]uint8
	classes int
	next    []uint16 // state*classes + class
	means   []finding
}

// newAutomaton compiles the words, which have fewer than 65,536 bytes in all.
func newAutomaton(words []word) *automaton {
	a := &automaton{classes: 1}
	for _, w := range words {
		for i := range len(w.text) {
			if c := &a.class[w.text[i]]; *c == 0 {
				*c = uint8(a.classes)
				a.classes++
			}
		}
	}
	a.addState()
	for _, w := range words {
		state := 0
		for i := range len(w.text) {
			next := state*a.classes + int(a.class[w.text[i]])
			if a.next[next] == 0 {
				a.next[next] = a.addState()
			}
			state = int(a.next[next])
		}
		a.means[state] = max(a.means[state], w.means)
	}
	a.link()
	return a
}

func (a *automaton) addState() uint16 {
	a.next = append(a.next, make([]uint16, a.classes)...)
	a.means = append(a.means, nothing)
	return uint16(len(a.means) - 1)
}

// link fills the transitions that leave a word for another that its end
// begins, nearest states first.
func (a *automaton) link() {
	fallback := make([]uint16, len(a.means))
	queue := []uint16{0}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		back := int(fallback[state])
		a.means[state] = max(a.means[state], a.means[back])
		for c := range a.classes {
			next := &a.next[int(state)*a.classes+c]
			shortcut := a.next[back*a.classes+c]
			if state == 0 {
				shortcut = 0
			}
			if *next == 0 {
				*next = shortcut
				continue
			}
			fallback[*next] = shortcut
			queue = append(queue, *next)
		}
	}
}

// find returns the most that any word in text means, between begin and end.
func (a *automaton) find(text string) finding {
	state := a.step(0, begin[0])
	found := a.means[state]
	for i := range len(text) {
		state = a.step(state, text[i])
		if found = max(found, a.means[state]); found == certain {
			return certain
		}
	}
	return max(found, a.means[a.step(state, end[0])])
}

func (a *automaton) step(state uint16, b byte) uint16 {
	return a.next[int(state)*a.classes+int(a.class[b])]
}
