// Package uplot embeds uPlot, the library that draws the plots of the platform's pages.
package uplot

import "embed"

// Files are its script, style and licence.
//
//go:embed LICENSE uPlot.iife.min.js uPlot.min.css
var Files embed.FS
