package storage

// A visit's exit page is where its chain of pages ends. Times cannot tell which
// that is, they are whole seconds; so each pageview adds the hash of its page
// and takes that of the page before away, and what is left of the sum is the
// hash of the last. That is several times as fast as keeping the pages
// themselves. A visit whose beginning is not there any more has no exit page.

const (
	pathHash = "if(path = '', 0, cityHash64(path))"
	exitHash = "if(sum(new_visit) = 0, 0, toUInt64(sumIf(" +
		pathHash + " - if(previous_path = '', 0, cityHash64(previous_path)), kind = 'pageview'))) AS exit_hash"
)

// exitPages joins the pages that hashes stand for, as exit_page.
func exitPages(key string) string {
	return " ANY LEFT JOIN (SELECT " + pathHash + " AS " + key + ", any(path) AS exit_page FROM events WHERE " +
		bounds(visitMargin) + " GROUP BY " + key + ") AS pages USING (" + key + ")"
}

// exitIs returns the condition that a visit's exit page satisfies condition,
// which is written for a value.
func exitIs(condition func(value string) (string, error)) (string, error) {
	ofPage, err := condition("path")
	if err != nil {
		return "", err
	}
	ofNone, err := condition("''")
	if err != nil {
		return "", err
	}
	return anyOf([]string{
		"exit_hash IN (SELECT " + pathHash + " FROM events WHERE " + bounds(visitMargin) + " AND " + ofPage + ")",
		all([]string{"exit_hash = 0", ofNone}),
	}), nil
}
