// Package browsertest tests the page of the command dashboards in a real browser, with a real Prometheus that has generated series. It is
// a separate module, so that the platform's doesn't depend on a browser driver.
package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const patience = 30 * time.Second

var (
	page    string // the page's address, over a Prometheus that answers
	lonely  string // over one that doesn't
	skipped string // why nothing can be looked at
)

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "dashboards")
	if err != nil {
		panic(err)
	}
	stop, err := start(folder)
	var missing missingError
	if errors.As(err, &missing) {
		skipped = err.Error()
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	code := 1
	if err == nil || skipped != "" {
		code = m.Run()
	}
	stop()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

type missingError struct{ program string }

func (e missingError) Error() string {
	return e.program + ` is not on PATH: install it, or eval "$(make -s env)" where the platform has it`
}

// start builds the page, fills a Prometheus, and starts both.
func start(folder string) (stop func(), err error) {
	var running []*exec.Cmd
	stop = func() {
		for _, command := range running {
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	}
	for _, program := range []string{"prometheus", "promtool", "chromium"} {
		if _, err := exec.LookPath(program); err != nil {
			return stop, missingError{program}
		}
	}
	run := func(command *exec.Cmd) error {
		output, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
		return nil
	}
	program := filepath.Join(folder, "dashboards")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir, build.Env = "../../../cmd/dashboards", append(os.Environ(), "GOWORK=off")
	if err := run(build); err != nil {
		return stop, err
	}
	madeUp := filepath.Join(folder, "madeup.txt")
	file, err := os.Create(madeUp)
	if err != nil {
		return stop, err
	}
	if err := errors.Join(write(file, time.Now()), file.Close()); err != nil {
		return stop, err
	}
	data := filepath.Join(folder, "data")
	if err := run(exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", madeUp, data)); err != nil {
		return stop, err
	}
	config := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		return stop, err
	}
	begin := func(address, ready string, command *exec.Cmd) error {
		if err := command.Start(); err != nil {
			return err
		}
		running = append(running, command)
		return eventually(func() error {
			response, err := http.Get("http://" + address + ready)
			if err != nil {
				return err
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return errors.New(response.Status)
			}
			return nil
		})
	}
	prometheus, free, unheard := freeAddress(), freeAddress(), freeAddress()
	err = begin(prometheus, "/-/ready", exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+data,
		"--storage.tsdb.retention.time=30d", "--web.listen-address="+prometheus))
	if err != nil {
		return stop, err
	}
	alertmanager := httptest.NewServer(http.HandlerFunc(alerts))
	err = begin(free, "/api/dashboards", exec.Command(program, "-listen", free, "-prometheus", "http://"+prometheus, "-alertmanager", alertmanager.URL))
	if err != nil {
		return stop, err
	}
	page = "http://" + free
	second := freeAddress()
	err = begin(second, "/api/dashboards", exec.Command(program, "-listen", second, "-prometheus", "http://"+unheard))
	lonely = "http://" + second
	return stop, err
}

// alerts answers like Alertmanager's API v2.
func alerts(w http.ResponseWriter, _ *http.Request) {
	began := time.Now().Add(-12 * time.Minute).Format(time.RFC3339)
	_, _ = fmt.Fprintf(w, `[
		{"labels":{"alertname":"Watchdog","severity":"none"},"annotations":{},"startsAt":%[1]q,"status":{"state":"active"}},
		{"labels":{"alertname":"TargetGone","severity":"ticket","job":"coredns"},"annotations":{"summary":"coredns doesn't respond to Prometheus.","runbook_url":"javascript:alert(1)"},"startsAt":%[1]q,"status":{"state":"active"}},
		{"labels":{"alertname":"ErrorBudgetBurn","severity":"page","job":"order-service"},"annotations":{"summary":"order-service spends its error budget 14.4 times too fast.","description":"2 %% of its requests fail; it may be 0.1 %%. <b>Not markup.</b>","runbook_url":"https://runbooks.example.com/ErrorBudgetBurn.md"},"startsAt":%[1]q,"status":{"state":"active"}},
		{"labels":{"alertname":"HighLatency","severity":"ticket","job":"order-service"},"annotations":{},"startsAt":%[1]q,"status":{"state":"suppressed"}}]`, began)
}

func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func eventually(condition func() error) error {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = condition(); err == nil {
			return nil
		}
	}
	return err
}

// browser is one tab and its errors.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	wrong   []string // what the console says: faults of scripts, and what the policy refused
	foreign []string // requests that leave this machine
}

func look(t *testing.T, width, height int64) *browser {
	t.Helper()
	if skipped != "" {
		t.Skip(skipped)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath("chromium"), chromedp.WSURLReadTimeout(2*patience))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*patience)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.wrong = append(b.wrong, e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			for _, argument := range e.Args {
				b.wrong = append(b.wrong, string(argument.Value))
			}
		case *network.EventRequestWillBeSent:
			if address := e.Request.URL; !strings.HasPrefix(address, page) && !strings.HasPrefix(address, lonely) && !strings.HasPrefix(address, "data:") && !strings.HasPrefix(address, "about:") {
				b.foreign = append(b.foreign, address)
			}
		}
	})
	b.do(network.Enable(), runtime.Enable(), chromedp.EmulateViewport(width, height))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.wrong) > 0 || len(b.foreign) > 0 {
			t.Errorf("the console says %q, and the page asked elsewhere: %q", b.wrong, b.foreign)
		}
	})
	return b
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// open opens a URL of the page and waits until everything is drawn.
func (b *browser) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address), drawn(1))
}

// drawn waits until the page has drawn everything at least that many times.
func drawn(turns int) chromedp.Action {
	return chromedp.Poll(fmt.Sprintf("Number(document.documentElement.dataset.drawn) >= %d && !document.querySelector('.waiting')", turns), nil,
		chromedp.WithPollingTimeout(patience))
}

// run evaluates an expression with the exports of prometheus.js, and waits for its promise.
func run[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	const in = `import('/static/prometheus.js').then(async ({ interpolate, legendOf, queryPanel, spanOf }) => %s)`
	b.do(chromedp.Evaluate(fmt.Sprintf(in, expression), &value, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return value
}

// ask evaluates an expression in the page.
func ask[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &value))
	return value
}

// shoot saves a screenshot of the whole page in the folder of the variable PICTURES.
func (b *browser) shoot(name string) {
	b.t.Helper()
	folder := os.Getenv("PICTURES")
	if folder == "" {
		return
	}
	var picture []byte
	b.do(chromedp.FullScreenshot(&picture, 100))
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

var dashboards = []string{
	"platform", "service-api-gateway", "service-user-service", "service-order-service", "service-notification-service",
	"data-stores", "releases", "edge", "cluster", "monitoring", "cost",
}

// mayBeEmpty are the panels without data for the fictitious platform, which has no webhook.
var mayBeEmpty = map[string]bool{"Deliveries": true, "Errors by service": true}

func TestDashboardsAreDrawn(t *testing.T) {
	b := look(t, 1440, 900)
	for _, uid := range dashboards {
		b.open(page + "/d/" + uid)
		if faults := ask[[]string](b, `[...document.querySelectorAll('.fault')].map(e => e.closest('.panel')?.querySelector('h3').textContent + ': ' + e.textContent)`); len(faults) > 0 {
			t.Errorf("%s: %q", uid, faults)
		}
		for _, title := range ask[[]string](b, `[...document.querySelectorAll('.panel:has(.none)')].map(e => e.querySelector('h3').textContent)`) {
			if !mayBeEmpty[title] {
				t.Errorf("%s: %q shows nothing", uid, title)
			}
		}
		if blank := ask[[]string](b, `[...document.querySelectorAll('.panel .body')].filter(e => e.clientHeight < 30 || !e.children.length).map(e => e.parentElement.querySelector('h3').textContent)`); len(blank) > 0 {
			t.Errorf("%s: %q have no room", uid, blank)
		}
		if wide := ask[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
			t.Errorf("%s is %d pixels wider than the window", uid, wide)
		}
		queries := ask[[]string](b, `[...document.querySelectorAll('[popover] pre')].map(e => e.textContent)`)
		if len(queries) == 0 {
			t.Errorf("%s shows no queries", uid)
		}
		for _, query := range queries {
			if found := regexp.MustCompile(`\$[a-z_]+`).FindString(query); found != "" {
				t.Errorf("%s: %s is left in %s", uid, found, query)
			}
		}
		b.shoot("light-" + uid)
	}
}

func TestBanner(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page)
	if banner := ask[string](b, `document.querySelector('.banner').textContent`); banner != "Drawn by the platform's own page: this cluster has no Grafana" {
		t.Errorf("the page is headed %q", banner)
	}
	if title := ask[string](b, `document.querySelector('h1').textContent`); title != "Platform" {
		t.Errorf("the first page is %q", title)
	}
}

func TestDarkModeIsRemembered(t *testing.T) {
	b := look(t, 1440, 900)
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	b.open(page + "/d/platform")
	if theme := ask[string](b, `document.documentElement.dataset.theme`); theme != "dark" {
		t.Fatalf("where the system is dark the page is %q", theme)
	}
	b.shoot("dark-platform")
	b.open(page + "/d/service-user-service")
	b.shoot("dark-service-user-service")
	b.do(chromedp.Click("#theme"), drawn(2))
	b.open(page + "/d/platform")
	if theme := ask[string](b, `document.documentElement.dataset.theme`); theme != "light" {
		t.Errorf("what was chosen is forgotten: the page is %q", theme)
	}
}

func TestPageFitsAPhone(t *testing.T) {
	b := look(t, 390, 844)
	for _, uid := range dashboards {
		b.open(page + "/d/" + uid)
		if wide := ask[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide > 0 {
			t.Errorf("%s is %d pixels wider than the phone", uid, wide)
		}
		if narrow := ask[[]string](b, `[...document.querySelectorAll('.panel')].filter(e => e.clientWidth < 340).map(e => e.textContent)`); len(narrow) > 0 {
			t.Errorf("%s: %q don't use the phone's width", uid, narrow)
		}
		b.shoot("phone-" + uid)
	}
}

func TestFiringAlertsComeFirst(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	b.do(chromedp.Poll(`document.querySelectorAll('#alerts li').length === 2`, nil, chromedp.WithPollingTimeout(patience)))
	if first := ask[string](b, `document.querySelector('#alerts li').textContent`); !strings.Contains(first, "ErrorBudgetBurn") || !strings.Contains(first, "<b>Not markup.</b>") {
		t.Errorf("the loudest is %q", first)
	}
	if quiet := ask[string](b, `document.querySelector('#alerts').lastElementChild.textContent`); !strings.HasPrefix(quiet, "1 more is silenced") {
		t.Errorf("of the silenced one the page says %q", quiet)
	}
	if links := ask[[]string](b, `[...document.querySelectorAll('#alerts a')].map(e => e.href)`); len(links) != 1 || links[0] != "https://runbooks.example.com/ErrorBudgetBurn.md" {
		t.Errorf("alerts lead to %q: want the runbook at https, and not the script", links)
	}
	b.open(page + "/d/cost")
	if !ask[bool](b, `document.querySelector('#alerts').hidden`) {
		t.Error("they stand on other pages, too")
	}
}

func TestVariablesChangeQueries(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/releases")
	b.do(chromedp.WaitVisible(`#variables input[value="user-service"]`), chromedp.Click(`#variables input[value="user-service"]`), drawn(2))
	legends := ask[[]string](b, `[...[...document.querySelectorAll('.panel')].find(e => e.querySelector('h3').textContent === 'Traffic by colour').querySelectorAll('.legend button')].map(e => e.textContent)`)
	if len(legends) != 2 || !strings.HasPrefix(legends[0], "user-service blue") || !strings.HasPrefix(legends[1], "user-service green") {
		t.Errorf("of user-service it shows %q", legends)
	}
	if address := ask[string](b, `location.search`); !strings.Contains(address, "var-service=user-service") {
		t.Errorf("the address %q doesn't say what was chosen", address)
	}
	happened := ask[[]string](b, `[...document.querySelectorAll('.happened')].map(e => e.title.split(',')[0])`)
	if !slices.Equal(happened, []string{"user-service: blue went live", "user-service: green went live"}) {
		t.Errorf("%q is marked: want the beginning and the switch", happened)
	}
	b.shoot("chosen-releases")
}

func TestPriceChangesTheCost(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/cost")
	const kept = `document.querySelector('.panel .number b').textContent`
	before := ask[string](b, kept)
	enter := func(price string) chromedp.Action {
		return chromedp.Tasks{
			chromedp.WaitVisible(`#variables input[name="core"]`),
			chromedp.Evaluate(`document.querySelector('#variables input[name="core"]').select()`, nil),
			chromedp.KeyEvent(price + kb.Enter),
		}
	}
	b.do(enter("200"), drawn(2))
	if after := ask[string](b, kept); after == before {
		t.Errorf("it is %s at ten times the price", after)
	}
	b.do(enter("up"))
	if ask[bool](b, `document.querySelector('#variables input[name="core"]').checkValidity()`) {
		t.Error("a price that is no number is taken")
	}
}

func TestKeyboard(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/service-user-service")
	// The first stop is the skip link.
	b.do(chromedp.KeyEvent(kb.Tab))
	if focused := ask[string](b, `document.activeElement.className`); focused != "skip" {
		t.Errorf("the first stop is %q", focused)
	}
	// Along a chart.
	b.do(chromedp.Focus(".chart"), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft))
	if told := ask[string](b, `document.querySelector('.chart .tip:not([hidden])')?.textContent ?? ''`); !strings.Contains(told, "over 1 h") {
		t.Errorf("the arrow keys tell %q", told)
	}
	// A legend entry hides and shows its line.
	b.do(chromedp.Focus(".legend button"), chromedp.KeyEvent(kb.Enter))
	if pressed := ask[string](b, `document.querySelector('.legend button').ariaPressed`); pressed != "false" {
		t.Errorf("the legend's entry is %q after Enter", pressed)
	}
	// The description of a panel.
	b.do(chromedp.Focus(".top button"), chromedp.KeyEvent(kb.Enter))
	if told := ask[string](b, `document.querySelector(':popover-open').textContent`); !strings.Contains(told, "Objective: 99.9 %") {
		t.Errorf("about the panel it says %q", told)
	}
	b.shoot("about")
	b.do(chromedp.KeyEvent(kb.Escape))
	if ask[bool](b, `!!document.querySelector(':popover-open')`) {
		t.Error("Escape doesn't close it")
	}
	unreachable := ask[[]string](b, `[...document.querySelectorAll('button, select, input, a, summary')].filter(e => e.tabIndex < 0).map(e => e.outerHTML)`)
	if len(unreachable) > 0 {
		t.Errorf("no key leads to %q", unreachable)
	}
	if nameless := ask[[]string](b, `[...document.querySelectorAll('button, select, input, a, summary, [role=img]')].filter(e => !(e.textContent.trim() || e.ariaLabel || e.title || e.labels?.length)).map(e => e.outerHTML)`); len(nameless) > 0 {
		t.Errorf("nameless are %q", nameless)
	}
}

func TestPanelShowsErrorAndQuery(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(lonely + "/d/platform")
	text := ask[string](b, `document.querySelector('.panel .faults').textContent`)
	if !strings.Contains(text, "doesn't respond") || !strings.Contains(text, "traefik_entrypoint_requests_total") {
		t.Errorf("the panel says %q", text)
	}
	b.shoot("lonely")
}

func TestRangeIsKeptAcrossDashboards(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	b.do(chromedp.SetValue("#range", "15m"), chromedp.Evaluate(`document.querySelector('#range').dispatchEvent(new Event('change'))`, nil), drawn(2),
		chromedp.Click(`nav a[href^="/d/releases"]`), chromedp.WaitVisible(`nav a[href^="/d/releases"][aria-current]`), drawn(1))
	if address := ask[string](b, `location.pathname + location.search`); !strings.HasPrefix(address, "/d/releases?from=now-15m") {
		t.Errorf("the link led to %s", address)
	}
	b.do(chromedp.NavigateBack(), chromedp.WaitVisible(`nav a[href^="/d/platform"][aria-current]`), drawn(1))
	if address := ask[string](b, `location.pathname + location.search`); !strings.HasPrefix(address, "/d/platform?from=now-15m") {
		t.Errorf("the way back led to %s", address)
	}
}

func TestDragZooms(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/service-user-service")
	at := ask[[]float64](b, `(({ left, top, width, height }) => [left + width / 4, left + width * 3 / 4, top + height / 2])(document.querySelector('.chart .u-over').getBoundingClientRect())`)
	b.do(input.DispatchMouseEvent(input.MouseMoved, at[0], at[2]),
		input.DispatchMouseEvent(input.MousePressed, at[0], at[2]).WithButton(input.Left).WithClickCount(1),
		input.DispatchMouseEvent(input.MouseMoved, at[1], at[2]).WithButton(input.Left),
		input.DispatchMouseEvent(input.MouseReleased, at[1], at[2]).WithButton(input.Left).WithClickCount(1), drawn(2))
	search := ask[string](b, `location.search`)
	if !regexp.MustCompile(`^\?from=now-4[4-7]m&to=now-1[4-7]m$`).MatchString(search) {
		t.Errorf("the middle half of an hour is %q", search)
	}
	const whole = `location.search === '' && document.querySelector('#range').value === '1h'`
	b.do(chromedp.NavigateBack(), chromedp.Poll(whole, nil, chromedp.WithPollingTimeout(patience)))
}

func TestVariablesLikeGrafana(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	for _, test := range []struct{ name, expr, values, step, want string }{
		{"one", `{job=~"$service"}`, `["user-service"]`, "15", `{job=~"user-service"}`},
		{"several", `{job=~"$service"}`, `["a", "b"]`, "15", `{job=~"(a|b)"}`},
		{"all", `{job=~"$service"}`, `["$__all"]`, "15", `{job=~".*"}`},
		{"signs stand for themselves", `{job=~"$service"}`, `['a"} or b.c']`, "15", `{job=~"a\"\\} or b\\.c"}`},
		{"a number", `1 * $core`, `["20.5"]`, "15", `1 * 20.5`},
		{"a number that is none", `1 * $core`, `["up"]`, "15", `1 * NaN`},
		{"no number", `1 * $core`, `[" "]`, "15", `1 * NaN`},
		{"four scrapes at least", `[$__rate_interval]`, `[]`, "15", `[60s]`},
		{"a step and a scrape", `[$__rate_interval]`, `[]`, "600", `[615s]`},
		{"what is no variable", `label_replace(up, "a", "$1", "b", "(.*)")`, `[]`, "15", `label_replace(up, "a", "$1", "b", "(.*)")`},
	} {
		got := run[string](b, fmt.Sprintf("interpolate(%q, [{ name: 'service', type: 'custom', allValue: '.*' }, { name: 'core', type: 'textbox' }], () => %s, { step: %s })",
			test.expr, test.values, test.step))
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestSpans(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	for _, test := range []struct {
		from, to string
		points   int
		want     string // from before now, step and points; or the error
	}{
		{"now-1h", "now", 200, "3612 15 241"},
		{"now-15m", "now", 1000, "912 15 61"},
		{"now-7d", "now", 400, "604812 1515 400"},
		{"now-2h", "now-1h", 100, "7227 30 121"},
		{"now", "now-1h", 100, "now is not before now-1h"},
		{"now-400d", "now", 100, `"now-400d" is before Prometheus's retention: the maximum is now-31d`},
		{"yesterday", "now", 100, `"yesterday" is not a time such as now-6h`},
		{"now-99999999999999999999s", "now", 100, `"now-99999999999999999999s" is before Prometheus's retention: the maximum is now-31d`},
	} {
		got := run[string](b, fmt.Sprintf(`{
			const now = 1700000007;
			try {
				const { start, step, times } = spanOf(%q, %q, %d, now);
				return [now - start, step, times.length].join(" ");
			} catch (error) {
				return error.message;
			}
		}`, test.from, test.to, test.points))
		if got != test.want {
			t.Errorf("%s to %s in %d: got %s, want %s", test.from, test.to, test.points, got, test.want)
		}
	}
}

func TestLegends(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	for format, want := range map[string]string{"{{job}} {{ colour }}": "user-service blue", "p99 {{nobody}}": "p99", "used": "used"} {
		if got := run[string](b, fmt.Sprintf("legendOf(%q, { job: 'user-service', colour: 'blue' })", format)); got != want {
			t.Errorf("%q: got %q, want %q", format, got, want)
		}
	}
}

func TestQueriesHaveLimits(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	got := run[struct {
		Most, Lines, Left int
		Faults            []struct{ Query, Error string }
	}](b, `{
		let now = 0, most = 0;
		const original = window.fetch;
		window.fetch = async (...parameters) => {
			most = Math.max(most, ++now);
			try { return await original(...parameters); } finally { now--; }
		};
		const target = (expr) => ({ expr, instant: true, refId: "A", legendFormat: "" });
		const panel = { targets: [target("{job='user-service'}"), target("sum("), ...Array.from({ length: 30 }, () => target("vector(1)"))] };
		const { lines, left, faults } = await queryPanel(panel, spanOf("now-1h", "now", 100), (expr) => expr);
		return { most, lines: lines.length, left, faults };
	}`)
	if got.Most != 6 || got.Lines != 60+30 || got.Left == 0 {
		t.Errorf("%d queries ran at once, which made %d lines and left %d: want 6, 90 and some", got.Most, got.Lines, got.Left)
	}
	if len(got.Faults) != 1 || got.Faults[0].Query != "sum(" || !strings.Contains(got.Faults[0].Error, "parse error") {
		t.Errorf("the errors are %v", got.Faults)
	}
}

// Reads the units and kinds of panels from the dashboards.
func TestUnitsAndKindsAreKnown(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	for _, uid := range dashboards {
		response, err := http.Get(page + "/api/dashboards/" + uid)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Type        string
				FieldConfig struct {
					Defaults  struct{ Unit string }
					Overrides []struct {
						Properties []struct {
							ID    string
							Value json.RawMessage
						}
					}
				}
			}
		}
		err = json.NewDecoder(response.Body).Decode(&board)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		known := func(what, name, module, export string) {
			var is bool
			b.do(chromedp.Evaluate(fmt.Sprintf(`import('/static/%s').then(m => %q in m%s)`, module, name, export), &is, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
			if !is {
				t.Errorf("%s: the page doesn't know the %s %q", uid, what, name)
			}
		}
		for _, panel := range board.Panels {
			if panel.Type == "row" {
				continue
			}
			known("kind of panel", panel.Type, "charts.js", ".kinds")
			units := []string{panel.FieldConfig.Defaults.Unit}
			for _, override := range panel.FieldConfig.Overrides {
				for _, property := range override.Properties {
					if property.ID == "unit" {
						units = append(units, strings.Trim(string(property.Value), `"`))
					}
				}
			}
			for _, unit := range units {
				if panel.Type != "text" {
					known("unit", unit, "units.js", ".units")
				}
			}
		}
	}
}
