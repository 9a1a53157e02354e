// Package browsertest looks at the page of the command dashboards in a real browser, over a real Prometheus that holds
// series made up for it. It is a module of its own, so that the platform's doesn't depend on a browser's driver.
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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
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

// start builds the page, fills a Prometheus, and runs both.
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
	build.Dir, build.Env = "..", append(os.Environ(), "GOWORK=off")
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

// alerts answers as Alertmanager's API v2 does.
func alerts(w http.ResponseWriter, _ *http.Request) {
	began := time.Now().Add(-12 * time.Minute).Format(time.RFC3339)
	_, _ = fmt.Fprintf(w, `[
		{"labels":{"alertname":"Watchdog","severity":"none"},"annotations":{},"startsAt":%[1]q,"status":{"state":"active"}},
		{"labels":{"alertname":"TargetGone","severity":"ticket","job":"coredns"},"annotations":{"summary":"coredns doesn't answer Prometheus.","runbook_url":"javascript:alert(1)"},"startsAt":%[1]q,"status":{"state":"active"}},
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

// browser is one tab, and what went wrong in it.
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
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.ExecPath("chromium"))
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

// open goes to an address of the page and waits until all is drawn.
func (b *browser) open(address string) {
	b.t.Helper()
	b.do(chromedp.Navigate(address), drawn(1))
}

// drawn waits until the page has drawn everything at least so often.
func drawn(turns int) chromedp.Action {
	return chromedp.Poll(fmt.Sprintf("Number(document.documentElement.dataset.drawn) >= %d && !document.querySelector('.waiting')", turns), nil,
		chromedp.WithPollingTimeout(patience))
}

// ask evaluates an expression in the page.
func ask[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &value))
	return value
}

// shoot keeps a picture of the whole page in the folder that PICTURES names.
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
	"data-stores", "releases", "cost",
}

// mayBeEmpty is the panels that have nothing to show of the platform that is made up, which calls nobody outside.
var mayBeEmpty = map[string]bool{"Deliveries": true, "Deliveries that wait": true, "Errors by service": true}

func TestEveryDashboardIsDrawnInFull(t *testing.T) {
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
		b.shoot("light-" + uid)
	}
}

func TestItSaysWhoseDrawingItIs(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page)
	if banner := ask[string](b, `document.querySelector('.banner').textContent`); banner != "Drawn by the platform's own page: this cluster has no Grafana" {
		t.Errorf("the page is headed %q", banner)
	}
	if title := ask[string](b, `document.querySelector('h1').textContent`); title != "Platform" {
		t.Errorf("the first page is %q", title)
	}
}

func TestDarkIsRemembered(t *testing.T) {
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

func TestOnAPhoneNothingIsCutOff(t *testing.T) {
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

func TestAlertsThatFireStandFirst(t *testing.T) {
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

func TestAVariableNarrowsWhatIsAsked(t *testing.T) {
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

func TestAPriceChangesTheCost(t *testing.T) {
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

func TestTheKeyboardReachesEverything(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/service-user-service")
	// The first stop leads past the head.
	b.do(chromedp.KeyEvent(kb.Tab))
	if focused := ask[string](b, `document.activeElement.className`); focused != "skip" {
		t.Errorf("the first stop is %q", focused)
	}
	// Along a chart.
	b.do(chromedp.Focus(".chart"), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft))
	if told := ask[string](b, `document.querySelector('.chart .tip:not([hidden])')?.textContent ?? ''`); !strings.Contains(told, "over 1 h") {
		t.Errorf("the arrow keys tell %q", told)
	}
	// A line is hidden and shown by its entry of the legend.
	b.do(chromedp.Focus(".legend button"), chromedp.KeyEvent(kb.Enter))
	if pressed := ask[string](b, `document.querySelector('.legend button').ariaPressed`); pressed != "false" {
		t.Errorf("the legend's entry is %q after Enter", pressed)
	}
	// What a panel is about.
	b.do(chromedp.Focus("details.about summary"), chromedp.KeyEvent(kb.Enter))
	if told := ask[string](b, `document.querySelector('details.about[open]').textContent`); !strings.Contains(told, "Promised: 99.9 %") {
		t.Errorf("about the panel it says %q", told)
	}
	b.shoot("about")
	b.do(chromedp.KeyEvent(kb.Escape))
	if ask[bool](b, `!!document.querySelector('details.about[open]')`) {
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

func TestAPanelWithoutAnswerSaysWhyAndWhatItAsked(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(lonely + "/d/platform")
	text := ask[string](b, `document.querySelector('.panel .faults').textContent`)
	if !strings.Contains(text, "doesn't answer") || !strings.Contains(text, "traefik_entrypoint_requests_total") {
		t.Errorf("the panel says %q", text)
	}
	b.shoot("lonely")
}

func TestARangeIsKeptFromDashboardToDashboard(t *testing.T) {
	b := look(t, 1440, 900)
	b.open(page + "/d/platform")
	b.do(chromedp.SetValue("#range", "15m"), chromedp.Evaluate(`document.querySelector('#range').dispatchEvent(new Event('change'))`, nil), drawn(2),
		chromedp.Click(`nav a[href^="/d/releases"]`), drawn(3))
	if address := ask[string](b, `location.pathname + location.search`); !strings.HasPrefix(address, "/d/releases?from=now-15m") {
		t.Errorf("the link led to %s", address)
	}
	b.do(chromedp.NavigateBack(), chromedp.Poll(`document.querySelector('h1').textContent === 'Platform'`, nil, chromedp.WithPollingTimeout(patience)))
}

// TestEveryUnitAndKindIsKnown reads the units that panels have from the dashboards themselves.
func TestEveryUnitAndKindIsKnown(t *testing.T) {
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
