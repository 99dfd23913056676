/// `register --report`: what the page says, what it shows in a browser, and that it asks for nothing.
module Ldr.Cli.Tests.ReportTests

open System
open System.IO
open System.Net
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.Runtime.Reports
open Ldr.TestKit.Helpers
open Ldr.TestKit.Process
open Ldr.Cli.Tests.Browser

let private anatomy =
    {
        Size = 24, 28, 20
        Subjects = 2
        Structures = 3
        Deformation = 1.0
        Noise = 0.02
        Seed = 1
    }

/// Names that would do harm in a page, and in a shell.
let private fixedName = "<img src=x onerror=alert(1)>{{script}}.nii"
let private movingName = "it's $(echo) & \"more\".nii"

/// The same scan with bright voxels where the patient's right, front and head are (world x, y, z above the middle).
let private marked (scan: Volume) =
    let grid = scan.Grid
    let struct (cx, cy, cz) = grid.Centre

    let values =
        scan.Values
        |> Array.mapi (fun i v ->
            let x, y, z = i % grid.Nx, i / grid.Nx % grid.Ny, i / (grid.Nx * grid.Ny)
            let struct (wx, wy, wz) = grid.VoxelToWorld.Apply(float x, float y, float z)
            let part high = if high then 1.0f else 0.0f
            0.2f * v + part (wx > cx) + 2.0f * part (wy > cy) + 4.0f * part (wz > cz))

    Volume(grid, values)

let private write (folder: string) (arguments: string list) =
    let fixedScan, fixedLabels = Anatomy.subject anatomy 0
    let moving, labels = Anatomy.subject anatomy 1
    // Left-handed, axes exchanged, voxels of different sides: P, I, R.
    let turned (v: Volume) =
        let g = v.Grid
        let map = Affine.FromRows(0., 0., 1.5, 3., -1.0, 0., 0., 8., 0., -2.0, 0., -4.)
        Volume(Grid(g.Nx, g.Ny, g.Nz, map), v.Values, v.StoredAs)

    Nifti.Write(folder </> fixedName, marked (turned fixedScan))
    Nifti.Write(folder </> movingName, marked (turned moving))
    Nifti.Write(folder </> "labels.nii", turned labels)
    Nifti.Write(folder </> "fixed-labels.nii", turned fixedLabels)

    let outcome =
        ldr (
            [ "register"; "--model"; "none"; "--refine"; "10"; "--json" ]
            @ [ "--fixed"; folder </> fixedName; "--moving"; folder </> movingName ]
            @ arguments
        )

    Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
    (nonNull (JsonNode.Parse outcome.Output)).AsObject()

let private withReport folder =
    let page = folder </> "report.html"
    let said = write folder [ "--labels"; folder </> "labels.nii"; "--report"; page ]
    said, File.ReadAllText page

/// The pixels of a row's pictures.
let private pictures (row: string) =
    $"""[...document.querySelectorAll('[data-row={row}] canvas')].map(c => c.toDataURL()).join()"""

/// Mean brightness of the two halves of a picture, as "first,second".
let private halves row plane across =
    let first, second =
        if across then
            "0, 0, w / 2, h", "w / 2, 0, w / 2, h"
        else
            "0, 0, w, h / 2", "0, h / 2, w, h / 2"

    $"""(() => {{
        const canvas = document.querySelector('[data-row={row}] canvas[data-plane={plane}]');
        const context = canvas.getContext('2d'), w = canvas.width, h = canvas.height;
        const mean = (x, y, a, b) => {{
            const data = context.getImageData(x, y, a, b).data;
            let sum = 0;
            for (let i = 0; i < data.length; i += 4) sum += data[i];
            return 4 * sum / data.length;
        }};
        return mean({first}) + ',' + mean({second});
    }})()"""

let private set (id: string) (value: int) =
    $"""new Promise(done => {{
        const input = document.getElementById('{id}');
        input.value = {value};
        input.dispatchEvent(new Event('input', {{ bubbles: true }}));
        requestAnimationFrame(() => requestAnimationFrame(() => done('')));
    }})"""

let private click (selector: string) =
    $"""new Promise(done => {{
        document.querySelector('{selector}').click();
        requestAnimationFrame(() => requestAnimationFrame(() => done('')));
    }})"""

let tests =
    testList
        "report"
        [
            testInFolder "the page says what register said, and harmful names are only text" (fun folder ->
                let said, page = withReport folder

                Expect.stringContains page (WebUtility.HtmlEncode fixedName) "fixed name"
                Expect.stringContains page (WebUtility.HtmlEncode movingName) "moving name"
                Expect.isFalse (page.Contains "<img") "no element of the name's making"
                let verdict = string said["verdict"]
                Expect.stringContains page $"class=\"verdict {verdict}\"" "verdict"

                let similarity =
                    Scores.fixedPoint 3 ((nonNull said["similarity_after"]).GetValue<float>())

                Expect.stringContains page $">{similarity}</td>" "similarity"
                Expect.stringContains page "24 × 28 × 20" "size"
                Expect.stringContains page "1 × 2 × 1.5 mm" "voxels"
                Expect.stringContains page "<td>PIR</td>" "orientation"

                // Names are only text, also those that look like references.
                let own =
                    (page, [ fixedName; movingName ])
                    ||> List.fold (fun text name -> text.Replace(WebUtility.HtmlEncode name, "NAME"))

                for attribute in Regex.Matches(own, "(?:src|href|url)\s*[=(]") do
                    failtest $"the page refers to something: {own.Substring(attribute.Index, 60)}"

                Expect.stringContains page "default-src 'none'" "policy"
                // Escaped in the script's data, the placeholder of a name stays a name.
                Expect.stringContains page "{{script}}" "the name's braces")

            testInFolder "the command on the page does the same again" (fun folder ->
                if OperatingSystem.IsWindows() then
                    Tests.skiptest "there is no POSIX shell"

                let _, page = withReport folder

                let command =
                    WebUtility.HtmlDecode(Regex.Match(page, "<code>(.*?)</code>").Groups[1].Value)

                Expect.stringStarts command "ldr-fs register " "command"
                let script = $"ldr-fs() {{ dotnet '{program}' \"$@\"; }}; {command}"
                let first = File.ReadAllText(folder </> "report.html")
                File.Delete(folder </> "report.html")
                let outcome = run "bash" [ "-c"; script ]
                Expect.isTrue (outcome.Code = 0 || outcome.Code = 3) outcome.Errors
                let second = File.ReadAllText(folder </> "report.html")

                let timeless (text: string) =
                    Regex.Replace(text, "<tr><th scope=\"row\">Time<.*", "")

                Expect.isTrue (timeless first = timeless second) "the same page but for the time")

            testInFolder "an input is not overwritten, and a missing folder is said at once" (fun folder ->
                write folder [ "--moved"; folder </> "moved.nii" ] |> ignore

                for report, word in
                    [
                        folder </> movingName, "overwritten"
                        folder </> "no" </> "r.html", "does not exist"
                    ] do
                    let before = File.ReadAllBytes(folder </> movingName)

                    let outcome =
                        ldr
                            [
                                "register"
                                "--model"
                                "none"
                                "--fixed"
                                folder </> fixedName
                                "--moving"
                                folder </> movingName
                                "--report"
                                report
                            ]

                    Expect.equal outcome.Code 1 outcome.Errors
                    Expect.stringContains outcome.Errors word "the reason"
                    Expect.equal (File.ReadAllBytes(folder </> movingName)) before "the scan"

                Expect.isEmpty (Directory.GetFiles(folder, "*.tmp")) "nothing is left behind")

            testInFolder
                "in a browser the report of an evaluation has its colours, and nothing is asked for"
                (fun folder ->
                    use browser = Browser.Start()

                    let score name dice : PairScore =
                        {
                            Fixed = name
                            Moving = "m"
                            Dice = dice
                            Jaccard = dice
                            Hd95Mm = nan
                            TreMm = nan
                            PerLabel = []
                            FoldedPercent = 0.0
                            SdLogJ = 0.1
                            SdLogJLearn2Reg = 0.02
                            ExtremePercent = 0.5
                            ExtremeContentPercent = 0.4
                            ExtremeLabelPercent = 0.2
                            VolumeErrorPercent = 5.0
                            Carried95Mm = nan
                            InverseMm = nan
                            Milliseconds = 1.0
                        }

                    let page =
                        EvaluationReport.page
                            {
                                Model = "m"
                                Data = "d"
                                Split = "test"
                                Subjects = 2
                                LabelNames = Map.empty
                                Command = ""
                                Folder = ""
                            }
                            [ score "a" 0.5; score "b" 0.5 ]
                            [ score "a" 0.7; score "b" 0.4 ]

                    File.WriteAllText(folder </> "report.html", page)
                    let address = Uri(folder </> "report.html").AbsoluteUri
                    browser.Open address
                    browser.Wait "document.readyState === 'complete' && document.querySelector('circle')"

                    let colour dot =
                        browser.Evaluate $"getComputedStyle(document.querySelector('{dot}')).fill"

                    Expect.equal (colour "circle") "rgb(31, 95, 168)" "the style sheet is let in"
                    Expect.equal (colour "circle.worse") "rgb(163, 32, 28)" "what became worse"
                    Expect.equal browser.Requests [ address ] "nothing is asked for")

            testInFolder
                "in a browser the sliders move, sides are right, and nothing is asked for"
                (fun folder ->
                    use browser = Browser.Start()
                    withReport folder |> ignore
                    let address = Uri(folder </> "report.html").AbsoluteUri
                    browser.Open address
                    browser.Wait "document.documentElement?.dataset.ready"
                    let look row = browser.Evaluate(pictures row)

                    Expect.equal
                        (browser.Evaluate "String(document.querySelectorAll('canvas').length)")
                        "18"
                        "pictures"

                    // The comparison's slider, in every view, and the other rows stay.
                    for view in [ "checkerboard"; "curtain"; "blend"; "difference" ] do
                        browser.Evaluate(click $"input[value={view}]") |> ignore
                        browser.Evaluate(set "slide" 20) |> ignore
                        let compared, still = look "compare", look "fixed"
                        browser.Evaluate(set "slide" 80) |> ignore
                        Expect.notEqual (look "compare") compared $"{view}: the slider"
                        Expect.equal (look "fixed") still $"{view}: the fixed scan"
                        Expect.stringContains (browser.Evaluate "location.hash") "slide=80" "address"

                    let after = look "compare"
                    browser.Evaluate(click "input[value=moving]") |> ignore
                    Expect.notEqual (look "compare") after "before and after"

                    // A plane's slider changes that plane in every row.
                    for row in [ "fixed"; "moving"; "moved"; "compare"; "change" ] do
                        browser.Evaluate(set "z" 5) |> ignore
                        let former = look row
                        browser.Evaluate(set "z" 14) |> ignore
                        Expect.notEqual (look row) former $"{row}: slice"

                    browser.Evaluate(click "#outlines") |> ignore
                    let plain = look "fixed"
                    browser.Evaluate(click "#outlines") |> ignore
                    Expect.notEqual (look "fixed") plain "outlines of labels"
                    browser.Evaluate(click "#outlines") |> ignore

                    // Right is on the left, front and head are up, in scans whose axes are none of these.
                    for row in [ "fixed"; "moving"; "moved" ] do
                        for plane, across in
                            [
                                "axial", true
                                "axial", false
                                "coronal", true
                                "coronal", false
                                "sagittal", true
                                "sagittal", false
                            ] do
                            let sides =
                                browser.Evaluate(halves row plane across).Split(',') |> Array.map float

                            Expect.isGreaterThan sides[0] (sides[1] + 5.0) $"{row}, {plane}, across {across}"

                    // 30 mm from right to left, 24 from front to back, 56 from head to feet.
                    let shape plane =
                        browser.Evaluate(
                            $"(c => String(c.width / c.height))(document.querySelector('[data-row=fixed] canvas[data-plane={plane}]'))"
                        )
                        |> float

                    Expect.floatClose
                        { absolute = 0.02; relative = 0.02 }
                        (shape "axial")
                        (30.0 / 24.0)
                        "axial"

                    Expect.floatClose
                        { absolute = 0.02; relative = 0.02 }
                        (shape "coronal")
                        (30.0 / 56.0)
                        "coronal"

                    Expect.floatClose
                        { absolute = 0.02; relative = 0.02 }
                        (shape "sagittal")
                        (24.0 / 56.0)
                        "sagittal"

                    Expect.equal browser.Requests [ address ] "the page asks for itself alone"

                    // And could not, if it tried.
                    let refused =
                        """new Promise(done => {
                        document.addEventListener('securitypolicyviolation', e => done(e.blockedURI));
                        new Image().src = 'http://127.0.0.1:9/x.png';
                        setTimeout(() => done('nothing refused'), 3000);
                    })"""

                    Expect.stringStarts
                        (browser.Evaluate refused)
                        "http://127.0.0.1:9"
                        "refused by the page's policy"

                    Expect.equal browser.Sent [ address ] "never sent")

            testInFolder
                "labels of both scans have outlines and Dice, pictures a scale, and paper cuts nothing"
                (fun folder ->
                    use browser = Browser.Start()
                    let page = folder </> "report.html"
                    let address = Uri(page).AbsoluteUri

                    let openWith arguments =
                        let said =
                            write
                                folder
                                ([ "--labels"; folder </> "labels.nii"; "--report"; page ] @ arguments)

                        browser.Open address
                        browser.Wait "document.documentElement?.dataset.ready"
                        said

                    openWith [] |> ignore
                    let ofMovedLabels = browser.Evaluate(pictures "fixed")
                    let movedAlone = browser.Evaluate(pictures "moved")
                    browser.Open "about:blank"
                    let said = openWith [ "--fixed-labels"; folder </> "fixed-labels.nii" ]

                    Expect.notEqual
                        (browser.Evaluate(pictures "fixed"))
                        ofMovedLabels
                        "the fixed scan's own outlines"

                    Expect.notEqual
                        (browser.Evaluate(pictures "moved"))
                        movedAlone
                        "and dashed over the moved scan"

                    let rows =
                        [
                            for row in
                                Regex.Matches(
                                    File.ReadAllText page,
                                    "<tr><th scope=\"row\">([^<]*)</th><td class=\"value\">([0-9.]+)</td><td class=\"value\">([0-9.]+)</td></tr>"
                                ) -> row.Groups[1].Value, row.Groups[2].Value, row.Groups[3].Value
                        ]

                    let dice (name: string) (node: JsonNode | null) =
                        let number (key: string) =
                            Scores.fixedPoint 3 ((nonNull (nonNull node).[key]).GetValue<float>())

                        name, number "dice_before", number "dice"

                    let labels = nonNull said["labels"]

                    Expect.equal
                        rows
                        [
                            dice "all, mean" labels
                            for row in (nonNull labels["per_label"]).AsArray() do
                                dice (string (nonNull row).["label"]) row
                        ]
                        "Dice as register says it"

                    // White from 8 pixels on, above the lower edge; the axial picture is 30 mm wide.
                    let bar () =
                        browser.Evaluate
                            """(() => {
                        const canvas = document.querySelector('[data-row=fixed] canvas[data-plane=axial]');
                        const line = canvas.getContext('2d').getImageData(0, canvas.height - 10, canvas.width, 1).data;
                        let x = 10;
                        while (line[4 * x] === 255 && line[4 * x + 1] === 255) x++;
                        return String((x - 8) / canvas.width * 30);
                    })()"""
                        |> float

                    let length = bar ()

                    Expect.exists
                        [ 1.0; 2.0; 5.0; 10.0 ]
                        (fun mm -> abs (mm - length) < 0.2)
                        $"a round length, not {length} mm"

                    let zoom =
                        browser.Evaluate
                            """new Promise(done => {
                        const zoom = document.getElementById('zoom');
                        zoom.value = '2';
                        zoom.dispatchEvent(new Event('change'));
                        requestAnimationFrame(() => requestAnimationFrame(() => done('')));
                    })"""

                    Expect.equal zoom "" "zoomed"
                    let zoomed = bar () / 2.0

                    Expect.exists
                        [ 1.0; 2.0; 5.0; 10.0 ]
                        (fun mm -> abs (mm - zoomed) < 0.2)
                        $"a round length, not {zoomed} mm"

                    // A4 without its margins.
                    browser.Print 688

                    let widths =
                        browser.Evaluate
                            """(() => {
                        const boxes = [...document.querySelectorAll('[data-row=fixed] canvas')].map(c => c.getBoundingClientRect());
                        const heights = boxes.map((b, i) => b.width / b.height);
                        return [document.documentElement.scrollWidth, ...boxes.map(b => b.right), ...boxes.map(b => b.width), ...heights].join();
                    })()"""

                    let numbers = widths.Split(',') |> Array.map float
                    Expect.isLessThanOrEqual numbers[0] 688.0 "the page"
                    Expect.all numbers[1..3] (fun right -> right <= 688.0) "the pictures"

                    Expect.floatClose
                        { absolute = 0.02; relative = 0.0 }
                        (numbers[6] / numbers[4])
                        0.8
                        "one scale"

                    Expect.floatClose { absolute = 0.02; relative = 0.0 } numbers[7] (30.0 / 24.0) "axial"
                    Expect.floatClose { absolute = 0.02; relative = 0.0 } numbers[9] (24.0 / 56.0) "sagittal")

            testSeeds "the page's lattice: any orientation, blocks of voxels" 12 (fun random ->
                let n () = random.Next(3, 12)
                let grid = Grid(n (), n (), n (), obliqueAffine random (random.Next 2 = 0))
                let volume = randomVolume random grid
                let whole = DisplayGrid(grid, 1e9)
                Expect.equal whole.Grid.Orientation "LPI" "screen"
                let shown = whole.Mean(volume, 1)
                let moved = Warp.Resample(volume, shown.Grid, Affine.Identity)

                Expect.isTrue
                    (Array.forall2 (fun a b -> abs (a - b) < 1e-3f) shown.Values moved.Values)
                    "voxels"

                let coarse = DisplayGrid(grid, float grid.Count / 6.0)
                Expect.isLessThanOrEqual (float coarse.Grid.Count) (float grid.Count / 6.0) "voxels at most"
                // A linear function of the place has the block's middle as its mean, where the block is whole.
                let ramp =
                    Volume(
                        grid,
                        Array.init (int grid.Count) (fun i ->
                            let struct (x, y, z) =
                                grid.VoxelToWorld.Apply(
                                    float (i % grid.Nx),
                                    float (i / grid.Nx % grid.Ny),
                                    float (i / (grid.Nx * grid.Ny))
                                )

                            float32 (x + 2.0 * y - 3.0 * z))
                    )

                let mean = coarse.Mean(ramp, 1)
                let lowest = coarse.Lowest(ramp, 1)
                let struct (x, y, z) = coarse.Grid.VoxelToWorld.Apply(0.0, 0.0, 0.0)

                Expect.floatClose
                    { absolute = 0.01; relative = 1e-4 }
                    (float mean.Values[0])
                    (x + 2.0 * y - 3.0 * z)
                    "middle"

                Expect.isTrue (Array.forall2 (fun a b -> a <= b + 1e-3f) lowest.Values mean.Values) "lowest")
        ]
