package storage

import (
	"embed"
	"strings"
)

// Statements whose text is the same every time lie in sql/, in files named
// after the method that runs them.
//
//go:embed sql/*.sql
var sqlFiles embed.FS

// sqlText returns the text of sql/NAME.sql. A name without a file is a mistake
// in the program, found by the first test that runs the method.
func sqlText(name string) string {
	text, err := sqlFiles.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic("storage: " + err.Error())
	}
	return strings.TrimSpace(string(text))
}
