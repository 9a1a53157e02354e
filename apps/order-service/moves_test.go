package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/servicetest"
)

func testMoves(t *testing.T, w *world, at string) {
	database := w.postgres.Connect()
	events := func(t *testing.T, id string) string {
		t.Helper()
		var types []string
		err := database.QueryRow(t.Context(),
			"SELECT array_agg(type || ' ' || (payload->>'version') ORDER BY id) FROM outbox WHERE order_id = $1", id).Scan(&types)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(types)
	}
	paths := map[string][]string{ // how an order comes to a status
		"pending": {}, "paid": {"pay"}, "shipped": {"pay", "ship"}, "delivered": {"pay", "ship", "deliver"}, "cancelled": {"cancel"},
	}
	legal := map[string]string{
		"pending pay": "paid", "paid ship": "shipped", "shipped deliver": "delivered",
		"pending cancel": "cancelled", "paid cancel": "cancelled",
	}

	t.Run("every move from every status", func(t *testing.T) {
		for from, path := range paths {
			for _, move := range []string{"pay", "ship", "deliver", "cancel"} {
				o := place(t, at, alice)
				advance(t, at, o.ID, path...)
				before := servicetest.JSON[orderResponse](t, servicetest.Call(t, "GET", at+"/orders/"+o.ID, "", alice))
				published := events(t, o.ID)
				response := servicetest.Call(t, "POST", at+"/orders/"+o.ID+"/"+move, "", root, admin)
				after := servicetest.JSON[orderResponse](t, servicetest.Call(t, "GET", at+"/orders/"+o.ID, "", alice))

				to, isLegal := legal[from+" "+move]
				switch {
				case isLegal:
					moved := servicetest.JSON[orderResponse](t, response)
					if response.Status != http.StatusOK || moved.Status != to || after.Status != to || after.Version != before.Version+1 ||
						!after.UpdatedAt.After(before.UpdatedAt) || events(t, o.ID) == published {
						t.Errorf("%s of %s: got %+v, then %+v", move, from, response, after)
					}
				case from+" "+move == "paid pay", from+" "+move == "shipped ship", from+" "+move == "delivered deliver", from+" "+move == "cancelled cancel":
					if response.Status != http.StatusOK || after.Version != before.Version || events(t, o.ID) != published {
						t.Errorf("%s again: got %+v, then %+v", move, response, after)
					}
				default:
					p := servicetest.JSON[problemResponse](t, response)
					if response.Status != http.StatusConflict || p.Code != "conflict" || fmt.Sprint(after) != fmt.Sprint(before) || events(t, o.ID) != published {
						t.Errorf("%s of %s: got %+v, then %+v", move, from, response, after)
					}
				}
			}
		}
	})

	t.Run("permissions", func(t *testing.T) {
		o := place(t, at, alice)
		for _, c := range []struct {
			move    string
			headers []string
			status  int
		}{
			{"pay", []string{alice, user}, 403}, {"ship", []string{alice, user}, 403}, {"deliver", []string{alice, user}, 403},
			{"cancel", []string{bob, user}, 404}, {"cancel", nil, 401}, {"pay", []string{admin}, 401},
			{"cancel", []string{alice, user}, 200}, {"cancel", []string{alice, user}, 200}, {"cancel", []string{root, admin}, 200},
		} {
			if got := servicetest.Call(t, "POST", at+"/orders/"+o.ID+"/"+c.move, "", c.headers...); got.Status != c.status {
				t.Errorf("%s by %v: got %+v, want %d", c.move, c.headers, got, c.status)
			}
		}
		if got, want := events(t, o.ID), "[order.created 1 order.cancelled 2]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})

	t.Run("an order is moved only in the version in If-Match", func(t *testing.T) {
		o := place(t, at, alice)
		for _, c := range []struct {
			move, condition string
			status          int
			code, tag       string
		}{
			{"pay", `"2"`, 412, "precondition_failed", ""},
			{"pay", `W/"1"`, 412, "precondition_failed", ""},
			{"deliver", `"2"`, 412, "precondition_failed", ""}, // before it is a conflict
			{"pay", `1`, 400, "malformed", ""},
			{"pay", `"1"`, 200, "", `"2"`},
			{"pay", `"1"`, 412, "precondition_failed", ""}, // though it would change nothing
			{"pay", `"2"`, 200, "", `"2"`},
			{"ship", `"1", "2"`, 200, "", `"3"`},
			{"cancel", `*`, 409, "conflict", ""},
			{"deliver", `*`, 200, "", `"4"`},
		} {
			before, published := servicetest.Call(t, "GET", at+"/orders/"+o.ID, "", alice).Body, events(t, o.ID)
			a := servicetest.Call(t, "POST", at+"/orders/"+o.ID+"/"+c.move, "", root, admin, "If-Match: "+c.condition)
			if a.Status != c.status || a.Header.Get("ETag") != c.tag || servicetest.JSON[problemResponse](t, a).Code != c.code {
				t.Errorf("%s of %s: got %+v, want %d %s with %s", c.move, c.condition, a, c.status, c.code, c.tag)
			}
			if after := servicetest.Call(t, "GET", at+"/orders/"+o.ID, "", alice).Body; c.code != "" && (after != before || events(t, o.ID) != published) {
				t.Errorf("%s of %s changes %s to %s and publishes %s", c.move, c.condition, before, after, events(t, o.ID))
			}
		}
		gone := servicetest.Call(t, "POST", at+"/orders/"+uuid.NewString()+"/pay", "", root, admin, `If-Match: "1"`)
		if p := servicetest.JSON[problemResponse](t, gone); gone.Status != http.StatusNotFound || p.Code != "not_found" {
			t.Errorf("of no order: %+v", gone)
		}
	})

	t.Run("concurrent moves are serialised", func(t *testing.T) {
		for range 10 {
			o := place(t, at, alice)
			responses := map[string][]int{}
			var mu sync.Mutex
			var running sync.WaitGroup
			for _, move := range []string{"pay", "cancel", "pay", "ship", "cancel", "pay", "ship"} {
				running.Go(func() {
					status := try(at, "POST", "/orders/"+o.ID+"/"+move, "", root, admin).Status
					mu.Lock()
					defer mu.Unlock()
					responses[move] = append(responses[move], status)
				})
			}
			running.Wait()
			after := servicetest.JSON[orderResponse](t, servicetest.Call(t, "GET", at+"/orders/"+o.ID, "", alice))
			want, known := map[string]string{ // the possible results
				"cancelled 2": "[order.created 1 order.cancelled 2]",
				"cancelled 3": "[order.created 1 order.paid 2 order.cancelled 3]",
				"shipped 3":   "[order.created 1 order.paid 2 order.shipped 3]",
			}[fmt.Sprintf("%s %d", after.Status, after.Version)]
			if got := events(t, o.ID); !known || got != want {
				t.Errorf("the order is %s %d and has %s; responses: %v", after.Status, after.Version, got, responses)
			}
		}
	})
}
