package statsapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// object reads one JSON object: its members by name, each known and at most
// once. A member that is null counts as absent.
func object(raw []byte, what string, known ...string) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil {
		return nil, malformed(what, err)
	}
	if open != json.Delim('{') {
		return nil, faultf("%s must be a JSON object with %s.", capital(what), strings.Join(known, ", "))
	}
	fields := make(map[string]json.RawMessage, len(known))
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, malformed(what, err)
		}
		key, _ := token.(string) // inside an object a token before a value is its name
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, malformed(what, err)
		}
		if !slices.Contains(known, key) {
			return nil, faultf("%s has no %s. It may have %s.", capital(what), quote(key), strings.Join(known, ", "))
		}
		if _, again := fields[key]; again {
			return nil, faultf("%s has %s twice. Write it once.", capital(what), quote(key))
		}
		fields[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed(what, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, faultf("There is something after the end of %s. Send one JSON object.", what)
	}
	for key, value := range fields {
		if string(value) == "null" {
			delete(fields, key)
		}
	}
	return fields, nil
}

// malformed says where JSON stops being JSON, without repeating it.
func malformed(what string, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return faultf("%s is not valid JSON near byte %d.", capital(what), syntax.Offset)
	}
	return faultf("%s is not valid JSON: it ends too early.", capital(what))
}

// list reads a JSON array of at most max elements.
func list(raw json.RawMessage, what string, max int) ([]json.RawMessage, error) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || items == nil {
		return nil, faultf("%s must be a list.", capital(what))
	}
	if len(items) > max {
		return nil, faultf("%s may have at most %d entries, not %d.", capital(what), max, len(items))
	}
	return items, nil
}

// stringIn reads a JSON string, and nothing that merely converts to one.
func stringIn(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
