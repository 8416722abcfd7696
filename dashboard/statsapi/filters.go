package statsapi

import (
	"encoding/json"
	"regexp"

	"github.com/halfmask/halfmask/stats"
)

// Bounds of a query's filters. They keep the statement that storage builds
// small; no dashboard comes near them.
const (
	maxFilterDepth = 8
	maxFilters     = 100 // of the whole tree
	maxValues      = 1000
	maxValueBytes  = 2000 // as long as a property's value can be
	maxRegexpBytes = 500
)

func (r *Request) readFilters(raw json.RawMessage) error {
	p := filterParser{}
	all, err := p.list(raw, 1)
	if err != nil {
		return err
	}
	r.Filters, r.filters = all, raw
	return nil
}

// filterParser reads a tree of filters and counts its nodes.
type filterParser struct{ count int }

func (p *filterParser) list(raw json.RawMessage, depth int) ([]stats.Filter, error) {
	if depth > maxFilterDepth {
		return nil, faultf("filters are nested more than %d deep. Use fewer levels.", maxFilterDepth)
	}
	items, err := list(raw, "filters", maxFilters)
	if err != nil {
		return nil, err
	}
	var all []stats.Filter
	for _, item := range items {
		f, err := p.filter(item, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

func (p *filterParser) filter(raw json.RawMessage, depth int) (stats.Filter, error) {
	if p.count++; p.count > maxFilters {
		return stats.Filter{}, faultf("There are more than %d filters. Use fewer.", maxFilters)
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil || len(parts) < 2 {
		return stats.Filter{}, faultf(`A filter is a list such as ["is", "event:page", ["/"]] or ["not", FILTER].`)
	}
	name, _ := stringIn(parts[0])
	switch op := stats.Op(name); op {
	case stats.And, stats.Or, stats.Not:
		return p.combination(op, parts, depth)
	case stats.Is, stats.IsNot, stats.Contains, stats.ContainsNot, stats.Matches, stats.MatchesNot:
		return comparing(op, parts)
	case "has_done", "has_not_done":
		return stats.Filter{}, faultf("The filter %s is not supported.", name)
	default:
		return stats.Filter{}, faultf("There is no filter operator %s. Use is, is_not, contains, contains_not, matches, matches_not, and, or, not.", quote(name))
	}
}

func (p *filterParser) combination(op stats.Op, parts []json.RawMessage, depth int) (stats.Filter, error) {
	if len(parts) != 2 {
		return stats.Filter{}, faultf("The filter %s takes one argument.", op)
	}
	if op == stats.Not {
		if depth >= maxFilterDepth {
			return stats.Filter{}, faultf("filters are nested more than %d deep. Use fewer levels.", maxFilterDepth)
		}
		f, err := p.filter(parts[1], depth+1)
		return stats.Filter{Op: op, Filters: []stats.Filter{f}}, err
	}
	all, err := p.list(parts[1], depth+1)
	if err != nil {
		return stats.Filter{}, err
	}
	if len(all) == 0 {
		return stats.Filter{}, faultf("The filter %s needs at least one filter in its list.", op)
	}
	return stats.Filter{Op: op, Filters: all}, nil
}

// comparing reads [op, dimension, [values], {"case_sensitive": false}?].
func comparing(op stats.Op, parts []json.RawMessage) (stats.Filter, error) {
	if len(parts) < 3 || len(parts) > 4 {
		return stats.Filter{}, faultf(`The filter %s takes a dimension and a list of values, as in ["%s", "event:page", ["/"]].`, op, op)
	}
	name, _ := stringIn(parts[1])
	if name == "segment" {
		return stats.Filter{}, faultf("Segments are not supported. Write their filters out.")
	}
	d, err := dimension(name)
	if err != nil {
		return stats.Filter{}, err
	}
	if isTime(d) {
		return stats.Filter{}, faultf("A filter cannot use %s. Narrow date_range instead.", d)
	}
	if d == stats.EventGoal && op != stats.Is && op != stats.Contains {
		return stats.Filter{}, faultf("Goals can be filtered with is and contains only.")
	}
	f := stats.Filter{Op: op, Dimension: d}
	items, err := list(parts[2], "the values of a filter", maxValues)
	if err != nil {
		return stats.Filter{}, err
	}
	if len(items) == 0 {
		return stats.Filter{}, faultf("The filter on %s has no values. Give at least one.", quote(name))
	}
	for _, item := range items {
		value, ok := stringIn(item)
		if !ok || len(value) > maxValueBytes {
			return stats.Filter{}, faultf("The values of a filter are strings of at most %d bytes.", maxValueBytes)
		}
		if err := checkValue(op, d, value); err != nil {
			return stats.Filter{}, err
		}
		f.Values = append(f.Values, value)
	}
	if len(parts) == 4 {
		f.IgnoreCase, err = ignoreCase(parts[3])
	}
	return f, err
}

var country = regexp.MustCompile(`^([A-Z]{2}|\(not set\))$`)

func checkValue(op stats.Op, d stats.Dimension, value string) error {
	switch op {
	case stats.Is, stats.IsNot:
		if d == stats.Country && !country.MatchString(value) {
			return faultf(`The value %s is not a country. Use two capital letters, such as "DE".`, quote(value))
		}
	case stats.Matches, stats.MatchesNot:
		// Go's expressions are RE2's, as ClickHouse's are.
		if _, err := regexp.Compile(value); err != nil || len(value) > maxRegexpBytes {
			return faultf("The value %s is not a regular expression in RE2 syntax of at most %d bytes.", quote(value), maxRegexpBytes)
		}
	}
	return nil
}

func ignoreCase(raw json.RawMessage) (bool, error) {
	fields, err := object(raw, "the fourth part of a filter", "case_sensitive")
	if err != nil {
		return false, err
	}
	sensitive := true
	if value, ok := fields["case_sensitive"]; ok && json.Unmarshal(value, &sensitive) != nil {
		return false, faultf("case_sensitive must be true or false.")
	}
	return !sensitive, nil
}
