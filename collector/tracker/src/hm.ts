// The script that a site embeds:
//
//   <script defer src="https://HOST/js/hm.js" data-site="example.com"></script>
//
// It reports page views and whatever the page names itself, and nothing at all
// for a visitor who said no. It sets no cookie and keeps no identifier; the one
// thing it ever stores is a no, and only when asked to.
//
//   data-site   the site's domain; without it the page's own host name
//   data-api    the endpoint, if it is not /api/event beside this script
//   data-local  also counts local hosts and automated browsers (development)

interface Options {
  /** What else is known of the event: at most 30 short values. */
  props?: Record<string, string | number | boolean | null>
  /** false: the event does not end a bounce. */
  interactive?: boolean
}

type Call = [name: string, options?: Options | undefined]

interface Halfmask {
  /** Reports a custom event. */
  (name: string, options?: Options): void
  /** Stops counting this visitor on this site until optIn. */
  optOut(): void
  /** Takes optOut back, from the next view or event on. */
  optIn(): void
  /** Whether nothing is sent because the visitor, or their browser for them, said no. */
  optedOut(): boolean
}

declare global {
  interface Window {
    halfmask?: Halfmask & { q?: Call[] }
  }
  interface Document {
    readonly prerendering?: boolean
  }
  interface Navigator {
    readonly globalPrivacyControl: boolean
  }
}

const before = window.halfmask

// A second copy of the script must not count everything twice.
if (!before?.optOut) {
  const script = document.currentScript as HTMLScriptElement
  const { site, api, local } = script.dataset
  const endpoint = new URL(api || '/api/event', script.src || location.href)
  const ignored =
    local == null && (navigator.webdriver || /^(|(.*\.)?localhost|127(\.\d+)+|\[::1])$/.test(location.hostname))

  // Calls wait here until the page's own view was reported: nothing may
  // precede it, and a page nobody has looked at yet has nothing to report.
  const queue: Call[] = before?.q || []
  let refused: boolean
  let wanted: string // the path to report
  let viewed = '' // the path reported last

  const optedOut = (): boolean => {
    try {
      return (
        refused ||
        // Read each time: the no may have been said in another tab.
        localStorage.halfmask_optout == 1 ||
        navigator.globalPrivacyControl ||
        navigator.doNotTrack == '1'
      )
    } catch {
      // Where the browser denies storage a no could not be kept. So it is no.
      return true
    }
  }

  const choose = (no: boolean) => {
    refused = no
    try {
      if (no) localStorage.halfmask_optout = 1
      else delete localStorage.halfmask_optout
    } catch {
      // Storage is full or denied: `refused` holds for as long as the page.
    }
  }

  const send = (name: string, options?: Options) => {
    if (ignored || optedOut()) return
    // Not a beacon: blockers stop those first. Like one it outlives the page
    // and carries the collector's own cookies, or the collector could not see
    // an opt-out made there. no-cors, because nobody reads the answer: a proxy
    // that loses a header cannot make the page complain.
    fetch(endpoint, {
      method: 'POST',
      mode: 'no-cors',
      credentials: 'include',
      keepalive: true,
      body: JSON.stringify({
        ...options,
        n: name,
        // Fragments hold tokens and private state, and nobody counts them.
        u: location.href.split('#')[0],
        d: site,
        r: document.referrer,
      }),
    }).catch(() => {}) // blocked or offline: not the page's problem
  }

  const settle = () => {
    if (wanted != viewed && !(document.prerendering || document.hidden)) {
      viewed = wanted
      send('pageview')
    }
    while (viewed && queue.length) send(...queue.shift()!)
  }

  const view = () => {
    wanted = location.pathname
    settle()
  }

  const halfmask = (window.halfmask = ((name, options) => {
    queue.push([name, options])
    settle()
  }) as Halfmask)
  halfmask.optOut = () => choose(true)
  halfmask.optIn = () => choose(false)
  halfmask.optedOut = optedOut

  const push = history.pushState
  history.pushState = function (...args) {
    push.apply(history, args)
    view()
  }
  addEventListener('popstate', view)
  addEventListener('pageshow', (event) => {
    // Coming back by the back/forward cache is a view of the same path.
    if (event.persisted) {
      viewed = ''
      view()
    }
  })
  // When a prerendered page is shown, visibilitychange comes while it still
  // counts as prerendering; prerenderingchange follows.
  addEventListener('visibilitychange', settle)
  addEventListener('prerenderingchange', settle, true) // does not bubble
  view()
}

export {}
