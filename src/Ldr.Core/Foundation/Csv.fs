namespace Ldr

/// Tables for spreadsheets.
module internal Csv =
    /// A field of a CSV file, in quotes where RFC 4180 asks for them.
    /// A name that a spreadsheet would take for a formula gets a quote before it.
    let field (text: string) =
        let text =
            if text <> "" && "=+-@\t\r".Contains(text[0]) then
                "'" + text
            else
                text

        if text.IndexOfAny [| ','; '"'; '\n'; '\r' |] >= 0 then
            "\"" + text.Replace("\"", "\"\"") + "\""
        else
            text
