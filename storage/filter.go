package storage

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/halfmask/halfmask/stats"
)

// maxFilterDepth bounds how deeply And, Or and Not nest.
const maxFilterDepth = 16

// filters returns the condition that all of fs make, and notes which scopes
// they need.
func (b *builder) filters(fs []stats.Filter) (string, error) {
	conditions := make([]string, len(fs))
	for i, f := range fs {
		c, err := b.filter(f, 0)
		if err != nil {
			return "", err
		}
		conditions[i] = c
	}
	return all(conditions), nil
}

func (b *builder) filter(f stats.Filter, depth int) (string, error) {
	switch f.Op {
	case stats.And, stats.Or, stats.Not:
		return b.combine(f, depth)
	case stats.Is, stats.Contains, stats.Matches:
		return b.compare(f, f.Op)
	case stats.IsNot:
		return b.negate(f, stats.Is)
	case stats.ContainsNot:
		return b.negate(f, stats.Contains)
	case stats.MatchesNot:
		return b.negate(f, stats.Matches)
	}
	return "", fmt.Errorf("there is no such filter operator: %w", stats.ErrInvalid)
}

func (b *builder) combine(f stats.Filter, depth int) (string, error) {
	if depth == maxFilterDepth {
		return "", fmt.Errorf("filters nest more than %d deep: %w", maxFilterDepth, stats.ErrInvalid)
	}
	if len(f.Filters) == 0 {
		return "", fmt.Errorf("%s needs filters below it: %w", f.Op, stats.ErrInvalid)
	}
	conditions := make([]string, len(f.Filters))
	for i, below := range f.Filters {
		c, err := b.filter(below, depth+1)
		if err != nil {
			return "", err
		}
		conditions[i] = c
	}
	switch f.Op {
	case stats.Or:
		return anyOf(conditions), nil
	case stats.Not:
		return "NOT " + all(conditions), nil
	}
	return all(conditions), nil
}

// negate is the complement: what does not compare, missing values included.
func (b *builder) negate(f stats.Filter, op stats.Op) (string, error) {
	c, err := b.compare(f, op)
	return "NOT " + c, err
}

// compare is true where the dimension's value compares with any of the filter's.
// Is sees values as people do, so that "(not set)" can be asked for; Contains and
// Matches see only what is there.
func (b *builder) compare(f stats.Filter, op stats.Op) (string, error) {
	d, err := b.dimension(f.Dimension)
	if err != nil {
		return "", err
	}
	if d.isTime() {
		return "", fmt.Errorf("a time cannot be filtered by; the query's range does that: %w", stats.ErrInvalid)
	}
	if len(f.Values) == 0 {
		return "", fmt.Errorf("%s needs values: %w", f.Op, stats.ErrInvalid)
	}
	b.use(d)
	condition := func(value string) (string, error) {
		d := d
		d.value = value
		if op == stats.Is {
			return b.is(d, f), nil
		}
		return b.like(d, f, op)
	}
	var c string
	if d.exit {
		c, err = exitIs(condition)
	} else {
		c, err = condition(d.value)
	}
	if err != nil {
		return "", err
	}
	if d.rows != "" {
		c = all([]string{d.rows, c})
	}
	return c, nil
}

func (b *builder) is(d dimension, f stats.Filter) string {
	values := make([]string, len(f.Values))
	for i, v := range f.Values {
		if v == "" {
			v = d.missing
		}
		values[i] = v
	}
	list, value := b.bind("Array(String)", values), b.shown(d, d.value)
	if f.IgnoreCase {
		return "has(arrayMap(x -> lowerUTF8(x), " + list + "), lowerUTF8(" + value + "))"
	}
	return "has(" + list + ", " + value + ")"
}

func (b *builder) like(d dimension, f stats.Filter, op stats.Op) (string, error) {
	conditions := make([]string, len(f.Values))
	for i, v := range f.Values {
		switch {
		case op == stats.Contains && f.IgnoreCase:
			conditions[i] = "position(lowerUTF8(" + d.value + "), lowerUTF8(" + b.bind("String", v) + ")) > 0"
		case op == stats.Contains:
			conditions[i] = "position(" + d.value + ", " + b.bind("String", v) + ") > 0"
		default:
			// RE2's syntax is Go's: what does not compile here does not there.
			if _, err := regexp.Compile(v); err != nil {
				return "", fmt.Errorf("a regular expression is not valid: %w", stats.ErrInvalid)
			}
			if f.IgnoreCase {
				v = "(?i)" + v
			}
			conditions[i] = "match(" + d.value + ", " + b.bind("String", v) + ")"
		}
	}
	return all([]string{d.value + " != ''", anyOf(conditions)}), nil
}

func all(conditions []string) string {
	if len(conditions) == 0 {
		return "1"
	}
	return "(" + strings.Join(conditions, " AND ") + ")"
}

func anyOf(conditions []string) string { return "(" + strings.Join(conditions, " OR ") + ")" }
