package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/halfmask/halfmask/internal/testkit"
)

// TestAlertRules reads the rules as Prometheus does, strictly, and expects that
// each metric they ask for is one that a server shows.
func TestAlertRules(t *testing.T) {
	file, err := os.Open(filepath.Join("..", "..", "deploy", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	library, err := testkit.Library()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, filepath.Join(t.TempDir(), "data"), "--engine", library)
	shown := s.metrics(t)
	duration := regexp.MustCompile(`^(|\d+[smh])$`)
	names := regexp.MustCompile(`halfmask_\w+`)
	seen := map[string]bool{}
	for _, group := range rules.Groups {
		for _, r := range group.Rules {
			if r.Alert == "" || seen[r.Alert] || !duration.MatchString(r.For) || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("rule %q lacks something or is there twice", r.Alert)
			}
			seen[r.Alert] = true
			if strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") || strings.Count(r.Expr, "[") != strings.Count(r.Expr, "]") {
				t.Errorf("rule %s: %s", r.Alert, r.Expr)
			}
			used := names.FindAllString(r.Expr, -1)
			if len(used) == 0 {
				t.Errorf("rule %s asks for no metric", r.Alert)
			}
			for _, name := range used {
				if !strings.Contains(shown, "\n"+name+" ") && !strings.Contains(shown, "\n"+name+"{") {
					t.Errorf("rule %s asks for %s, which no server shows", r.Alert, name)
				}
			}
		}
	}
	if !seen["HalfmaskBooksDoNotBalance"] {
		t.Error("nobody would notice a loss")
	}
}
