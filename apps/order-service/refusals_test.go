package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"platform.example/apps/internal/servicetest"
)

func testRefusals(t *testing.T, at string) {
	item := func(fields string) string { return `{"currency":"EUR","items":[{` + fields + `}]}` }
	const sku, quantity, price = `"sku":"A"`, `"quantity":1`, `"unit_price":1`

	for _, c := range []struct {
		name, body string
		status     int
		code       string
		pointers   string // of the fields that are named
	}{
		{"no body", ``, 415, "unsupported_media_type", ""},
		{"no JSON", `{"currency"`, 400, "malformed", ""},
		{"no object", `[]`, 400, "malformed", ""},
		{"null", `null`, 400, "malformed", ""},
		{"trailing data", validOrder + validOrder, 400, "malformed", ""},
		{"deep nesting", strings.Repeat(`{"items":[`, 6000), 400, "malformed", ""},
		{"an unknown field", `{"currency":"EUR","total":1}`, 400, "malformed", ""},
		{"an unknown field of an item", item(sku + `,"id":1`), 400, "malformed", ""},
		{"a number for text", `{"currency":978}`, 400, "malformed", ""},
		{"text for a number", item(sku + `,"quantity":"1",` + price), 400, "malformed", ""},
		{"an object for a list", `{"currency":"EUR","items":{}}`, 400, "malformed", ""},
		{"a fraction", item(sku + `,"quantity":1.5,` + price), 400, "malformed", ""},
		{"a fraction of a cent", item(sku + `,` + quantity + `,"unit_price":0.5`), 400, "malformed", ""},
		{"an exponent", item(sku + `,` + quantity + `,"unit_price":1e3`), 400, "malformed", ""},
		{"more than 64 bits", item(sku + `,` + quantity + `,"unit_price":9223372036854775808`), 400, "malformed", ""},
		{"a number without end", item(sku + `,"quantity":` + strings.Repeat("9", 5000) + `,` + price), 400, "malformed", ""},
		{"broken UTF-8", "{\"currency\":\"\xff\"}", 400, "malformed", ""},
		{"a body that is too large", `{"currency":"` + strings.Repeat("E", 65<<10) + `"}`, 413, "too_large", ""},

		{"an empty object", `{}`, 422, "invalid", "[/currency /items]"},
		{"all fields", `{"currency":"eur","items":[{},{"sku":"ok","quantity":1,"unit_price":-1}]}`, 422, "invalid",
			"[/currency /items/0/sku /items/0/quantity /items/0/unit_price /items/1/unit_price]"},
		{"a currency that is none", `{"currency":"EUX","items":[{` + sku + `,` + quantity + `,` + price + `}]}`, 422, "invalid", "[/currency]"},
		{"a currency that was withdrawn", `{"currency":"DEM","items":[{` + sku + `,` + quantity + `,` + price + `}]}`, 422, "invalid", "[/currency]"},
		{"no items", `{"currency":"EUR","items":[]}`, 422, "invalid", "[/items]"},
		{"too many items", `{"currency":"EUR","items":[` + strings.Repeat(`{},`, 100) + `{}]}`, 422, "invalid", "[/items]"},
		{"a quantity of none", item(sku + `,"quantity":0,` + price), 422, "invalid", "[/items/0/quantity]"},
		{"a quantity below zero", item(sku + `,"quantity":-1,` + price), 422, "invalid", "[/items/0/quantity]"},
		{"a quantity above the limit", item(sku + `,"quantity":10001,` + price), 422, "invalid", "[/items/0/quantity]"},
		{"a missing price", item(sku + `,` + quantity), 422, "invalid", "[/items/0/unit_price]"},
		{"a price above the limit", item(sku + `,` + quantity + `,"unit_price":1000000000001`), 422, "invalid", "[/items/0/unit_price]"},
		{"the largest number", item(sku + `,` + quantity + `,"unit_price":9223372036854775807`), 422, "invalid", "[/items/0/unit_price]"},
		{"a total above the limit", item(sku + `,"quantity":1001,"unit_price":1000000000000`), 422, "invalid", "[/items]"},
		{"SQL for a SKU", item(`"sku":"'; DROP TABLE orders; --",` + quantity + `,` + price), 422, "invalid", "[/items/0/sku]"},
		{"a NUL in a SKU", item(`"sku":"a\u0000",` + quantity + `,` + price), 422, "invalid", "[/items/0/sku]"},
		{"a line break in a SKU", item(`"sku":"a\n",` + quantity + `,` + price), 422, "invalid", "[/items/0/sku]"},
		{"a SKU that is too long", item(`"sku":"` + strings.Repeat("a", 65) + `",` + quantity + `,` + price), 422, "invalid", "[/items/0/sku]"},
	} {
		t.Run("an order with "+c.name, func(t *testing.T) {
			response := servicetest.Call(t, "POST", at+"/orders", c.body, alice, user, newKey())
			p := servicetest.JSON[problemResponse](t, response)
			pointers := ""
			if len(p.Errors) > 0 {
				var named []string
				for _, e := range p.Errors {
					named = append(named, e.Pointer)
				}
				pointers = fmt.Sprint(named)
			}
			if response.Status != c.status || p.Code != c.code || pointers != c.pointers || p.RequestID == "" ||
				response.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %+v, want %d %s %s", response, c.status, c.code, c.pointers)
			}
		})
	}

	t.Run("not the largest order", func(t *testing.T) {
		items := strings.Repeat(`{"sku":"A","quantity":10,"unit_price":1000000000000},`, 100)
		response := servicetest.Call(t, "POST", at+"/orders", `{"currency":"XCG","items":[`+items[:len(items)-1]+`]}`, bob, user, newKey())
		if o := servicetest.JSON[orderResponse](t, response); response.Status != http.StatusCreated || o.Total != 1e15 || len(o.Items) != 100 {
			t.Errorf("got %+v", response)
		}
	})

	id := place(t, at, alice).ID
	for _, c := range []struct {
		name, method, path string
		headers            []string
		status             int
		code               string
	}{
		{"an invalid id", "GET", "/orders/1;drop", []string{alice}, 404, "not_found"},
		{"an id in capitals", "GET", "/orders/" + strings.ToUpper(id), []string{alice}, 404, "not_found"},
		{"an id in braces", "GET", "/orders/%7B" + id + "%7D", []string{alice}, 404, "not_found"},
		{"an order that there isn't", "GET", "/orders/01890000-0000-7000-8000-000000000000", []string{root, admin}, 404, "not_found"},
		{"a move of what there isn't", "POST", "/orders/01890000-0000-7000-8000-000000000000/pay", []string{root, admin}, 404, "not_found"},
		{"an unknown move", "POST", "/orders/" + id + "/refund", []string{root, admin}, 404, "not_found"},
		{"an unknown method", "DELETE", "/orders/" + id, []string{alice}, 405, "method_not_allowed"},
		{"a limit out of range", "GET", "/orders?limit=101", []string{alice}, 400, "malformed"},
		{"a limit that is none", "GET", "/orders?limit=ten", []string{alice}, 400, "malformed"},
		{"a cursor that is none", "GET", "/orders?after=x", []string{alice}, 400, "malformed"},
		{"a user that is none", "GET", "/orders?user_id=x", []string{root, admin}, 400, "malformed"},
		{"the orders of another user", "GET", "/orders?user_id=" + strings.TrimPrefix(bob, "X-User-Id: "), []string{alice, user}, 403, "forbidden"},
		{"the list without a user", "GET", "/orders", nil, 401, "unauthenticated"},
		{"a caller that is no id", "GET", "/orders", []string{"X-User-Id: ' OR 1=1"}, 401, "unauthenticated"},
	} {
		t.Run(c.name, func(t *testing.T) {
			response := servicetest.Call(t, c.method, at+c.path, "", c.headers...)
			if p := servicetest.JSON[problemResponse](t, response); response.Status != c.status || p.Code != c.code {
				t.Errorf("got %+v, want %d %s", response, c.status, c.code)
			}
		})
	}
}
