namespace Ldr

open System
open SkiaSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Registration

/// Pictures of registered pairs.
module Picture =
    /// Pixels per voxel of the widest column, chosen so that a panel is about this wide.
    let private panel = 220
    let private gap = 8

    /// The line of headings.
    let private heading = 22
    let private headings = [ "fixed"; "moving, aligned"; "moved"; "deformed grid" ]

    /// The middle coronal slice (y fixed), head up.
    let private slice (volume: Volume) : SKBitmap =
        let grid = volume.Grid
        let struct (low, high) = volume.Range
        let scale = if high > low then 255.0f / (high - low) else 0.0f
        let y = grid.Ny / 2
        let bitmap = new SKBitmap(grid.Nx, grid.Nz)

        for z in 0 .. grid.Nz - 1 do
            for x in 0 .. grid.Nx - 1 do
                let value = byte (Math.Clamp((volume[x, y, z] - low) * scale, 0.0f, 255.0f))
                bitmap.SetPixel(x, grid.Nz - 1 - z, SKColor(value, value, value))

        bitmap

    /// Lines of the deformed grid in the same slice: where the lines of the fixed grid come from.
    let private drawGrid (canvas: SKCanvas) (area: SKRect) (field: DisplacementField) =
        let grid = field.Grid
        let count = int grid.Count
        let y = grid.Ny / 2

        use paint =
            new SKPaint(
                Color = SKColor(30uy, 90uy, 160uy),
                IsAntialias = true,
                StrokeWidth = 1.2f,
                Style = SKPaintStyle.Stroke
            )

        let width, height = area.Width / float32 grid.Nx, area.Height / float32 grid.Nz

        let point x z =
            let i = (z * grid.Ny + y) * grid.Nx + x
            let px = float32 x + field.Vectors[i] + 0.5f
            let pz = float32 z + field.Vectors[2 * count + i] + 0.5f
            SKPoint(area.Left + px * width, area.Bottom - pz * height)

        let line (points: SKPoint seq) =
            use path = new SKPath()
            path.AddPoly(Array.ofSeq points, false)
            canvas.DrawPath(path, paint)

        canvas.Save() |> ignore
        canvas.ClipRect area

        for z in 0..2 .. grid.Nz - 1 do
            line (Seq.init grid.Nx (fun x -> point x z))

        for x in 0..2 .. grid.Nx - 1 do
            line (Seq.init grid.Nz (fun z -> point x z))

        canvas.Restore()

    let private drawHeadings (canvas: SKCanvas) =
        use paint =
            new SKPaint(
                Color = SKColors.Black,
                IsAntialias = true,
                TextSize = 14.0f,
                TextAlign = SKTextAlign.Center
            )

        headings
        |> List.iteri (fun column text ->
            let middle = gap + column * (panel + gap) + panel / 2
            canvas.DrawText(text, float32 middle, float32 (heading - 5), paint))

    /// A PNG with headings and one row for each pair: fixed, moving, moved, and the deformed grid.
    let pairs (path: string) (rows: RegistrationResult list) =
        let first = rows.Head.Fixed.Grid
        let height = panel * first.Nz / first.Nx

        let info = SKImageInfo(4 * panel + 5 * gap, heading + rows.Length * (height + gap))

        use surface = SKSurface.Create info
        let canvas = surface.Canvas
        canvas.Clear SKColors.White
        drawHeadings canvas

        rows
        |> List.iteri (fun row registered ->
            let top = float32 (heading + row * (height + gap))

            let area column =
                SKRect.Create(float32 (gap + column * (panel + gap)), top, float32 panel, float32 height)

            // Fixed and moving are shown on one grid, after the initial alignment.
            let images =
                [
                    registered.Fixed
                    Warp.Resample(registered.Moving, registered.Fixed.Grid, registered.Initial)
                    registered.Moved
                ]

            images
            |> List.iteri (fun column image ->
                use bitmap = slice image
                use paint = new SKPaint(FilterQuality = SKFilterQuality.High)
                canvas.DrawBitmap(bitmap, area column, paint))

            drawGrid canvas (area 3) registered.Deformation)

        use image = surface.Snapshot()
        use data = image.Encode(SKEncodedImageFormat.Png, 90)
        AtomicFile.Write(path, (fun stream -> data.SaveTo stream))
