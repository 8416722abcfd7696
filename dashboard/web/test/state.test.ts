import assert from "node:assert/strict";
import { test } from "node:test";
import { defaults, filterDimensions, parse, replaceFilter, serialize, withFilter, withoutFilter, type State } from "../src/state";

test("state survives the URL", () => {
  const states: State[] = [
    defaults,
    { period: "7d", metric: "bounce_rate", filters: [] },
    { period: "3mo", metric: "visitors", filters: [{ key: "page", op: "is", values: ["/a b?c=d&e#f", "/ü/%2F+"] }] },
    { period: "30d", metric: "visits", filters: [
      { key: "country", op: "is", values: ["DE"] },
      { key: "page", op: "contains", values: ["/blog"] },
      { key: "source", op: "is", values: ["<img src=x onerror=alert(1)>", "Direct / None"] },
      { key: "event", op: "is", values: ["Signup"] },
    ] },
  ];
  for (const state of states) assert.deepEqual(parse(serialize(state)), state);
});

test("every dimension can be in the URL", () => {
  for (const key of Object.keys(filterDimensions)) {
    assert.equal(parse(`?${key}=x`).filters[0]?.key, key);
  }
});

test("URLs are short and paths in them stay readable", () => {
  assert.equal(serialize(defaults), "?period=today");
  assert.equal(serialize({ ...defaults, filters: [{ key: "page", op: "is", values: ["/docs/start"] }] }), "?period=today&page=/docs/start");
});

test("nonsense in the URL is ignored", () => {
  for (const search of ["?period=century&metric=money", "?constructor=1&__proto__=2&toString=3", "?source=", "?&&=&%%", "?page~~=x"]) {
    assert.deepEqual(parse(search), defaults, search);
  }
  const many = "?" + Array.from({ length: 500 }, (_, i) => `page=/${i}`).join("&");
  assert.equal(parse(many).filters[0]!.values.length, 50);
});

test("a remembered period fills in only where the URL says none", () => {
  assert.equal(parse("", "30d").period, "30d");
  assert.equal(parse("?period=today", "30d").period, "today");
});

test("filters join, replace and go", () => {
  const de = { key: "country", op: "is", values: ["DE"] } as const;
  const one = withFilter([], { ...de, values: ["DE"] });
  const two = withFilter(one, { key: "country", op: "is", values: ["FR", "DE"] });
  assert.deepEqual(two, [{ key: "country", op: "is", values: ["DE", "FR"] }]);
  assert.deepEqual(replaceFilter(two, { key: "country", op: "is", values: ["ES"] }), [{ key: "country", op: "is", values: ["ES"] }]);
  assert.deepEqual(withoutFilter(two, two[0]!), []);
  assert.deepEqual(one, [{ key: "country", op: "is", values: ["DE"] }], "the old list is untouched");
});
