// Package uplot holds uPlot, the library that draws the plots of our pages.
package uplot

import "embed"

// Files are its script, its style and its licence.
//
//go:embed LICENSE uPlot.iife.min.js uPlot.min.css
var Files embed.FS
