package beacon

import (
	"slices"

	"github.com/halfmask/halfmask/event"
)

// takeProps reads the custom properties: an object, or a text that holds one,
// as old scripts send it. What is neither is ignored rather than refused,
// because the event is still worth counting.
func (b *Beacon) takeProps(body string, v *value) fault {
	switch v.kind {
	case object:
		return b.propsOf(body[v.lo:v.hi])
	case text:
		return b.propsText(b.string(body, v))
	}
	return fine
}

// propsText reads properties from a text that should hold a JSON object.
func (b *Beacon) propsText(s string) fault {
	check := scanner{s: s}
	check.space()
	from := check.at
	var v value
	if check.peek() != '{' || check.value(&v, 1) != fine || check.end() != fine {
		return fine
	}
	return b.propsOf(s[from:])
}

// propsOf reads an object that was already checked. Lists, objects, null and
// blank values are no properties; numbers and booleans keep their spelling.
func (b *Beacon) propsOf(object string) fault {
	b.Props = b.props[:0]
	s := scanner{s: object, at: 1}
	var key, v value
	for first := true; ; first = false {
		if done, f := s.member(first, &key); done || f != fine {
			return fine
		}
		if s.value(&v, 1) != fine {
			return fine
		}
		if !b.prop(object, &key, &v) {
			b.Props = nil
			return longProps
		}
	}
}

// prop adds one property, and reports whether it is within bounds. Of a key
// that comes twice the last counts.
func (b *Beacon) prop(object string, key, v *value) bool {
	value, plain := "", true
	switch v.kind {
	case text:
		value, plain = b.string(object, v), v.plain
	case number, truth, falsity:
		value = object[v.lo:v.hi]
	}
	name := b.string(object, key)
	tooLong := len(name) > MaxPropKey || len(value) > MaxPropValue
	name, value = b.keep(name, key.plain), b.keep(value, plain)
	i := slices.IndexFunc(b.Props, func(p event.Prop) bool { return p.Key == name })
	switch {
	case i >= 0 && value == "":
		b.Props = slices.Delete(b.Props, i, i+1)
	case value == "" || name == "":
	case i >= 0:
		b.Props[i].Value = value
		return !tooLong
	case len(b.Props) < MaxProps:
		b.Props = append(b.Props, event.Prop{Key: name, Value: value})
		b.usedProps = max(b.usedProps, len(b.Props))
		return !tooLong
	}
	return true
}
