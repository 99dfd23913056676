using System.Globalization;
using System.Text;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Reports;

namespace Ldr.Runtime.Groups;

/// <summary>The page of a template: its rounds in pictures and numbers, and its scans. One file, offline.</summary>
internal static class TemplatePage
{
    private const string Style = """
        :root { color-scheme: light dark; }
        body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: light-dark(#1c1c1c, #e6e6e6); background: light-dark(#fff, #14171c); }
        table { border-collapse: collapse; margin: 1rem 0; }
        th, td { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid light-dark(#ddd, #3a3f47); vertical-align: top; }
        th { vertical-align: bottom; }
        .number { text-align: right; font-variant-numeric: tabular-nums; }
        img { display: block; width: 384px; image-rendering: auto; }
        .remark { color: light-dark(#555, #a4abb5); }
        """;

    /// <summary>Writes it, atomically.</summary>
    internal static void Write(TemplateFolder folder, IReadOnlyList<TemplateScan> scans, TemplateRound[] rounds)
    {
        StringBuilder page = new();
        page.Append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.Append(CultureInfo.InvariantCulture, $"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'sha256-{ReportPage.Hash(Style)}'\">\n");
        page.Append(CultureInfo.InvariantCulture, $"<title>Template of {scans.Count} scans</title>\n<style>{Style}</style>\n</head>\n<body>\n");
        page.Append(CultureInfo.InvariantCulture, $"<h1>Template of {scans.Count} scans</h1>\n");
        page.Append("<p>The template is <code>template.nii.gz</code> beside this page; what moves each scan onto it and back is in <code>scans/</code>.</p>\n");
        page.Append("<p>Round 0 is the affine average. Mean deformation: how far the mean shape of the scans was from the average they were registered to; it was removed. ");
        page.Append("Sharpness: root mean square of the gradient where the template shows something, as a share of its median.</p>\n");
        Rounds(page, folder, rounds);
        Scans(page, folder, scans, rounds[^1]);
        page.Append(CultureInfo.InvariantCulture, $"<p class=\"remark\">Ldr {ReportPage.Version}</p>\n</body>\n</html>\n");
        AtomicFile.WriteText(folder.Page, page.ToString());
    }

    private static void Rounds(StringBuilder page, TemplateFolder folder, TemplateRound[] rounds)
    {
        page.Append("<table>\n<tr><th>Round</th><th>Average: axial, coronal, sagittal</th><th class=\"number\">Mean deformation,&nbsp;mm</th><th class=\"number\">Largest,&nbsp;mm</th><th class=\"number\">Sharpness,&nbsp;1/mm</th></tr>\n");
        foreach (TemplateRound round in rounds)
        {
            string picture = Convert.ToBase64String(PairPicture.Png(ImageFile.Read(folder.Average(round.Round))));
            page.Append(CultureInfo.InvariantCulture, $"<tr><td>{round.Round}</td><td><img alt=\"average of round {round.Round}\" src=\"data:image/png;base64,{picture}\"></td>");
            page.Append(CultureInfo.InvariantCulture, $"<td class=\"number\">{round.MeanDeformationMm:F3}</td><td class=\"number\">{round.MaxDeformationMm:F2}</td><td class=\"number\">{round.Sharpness:F4}</td></tr>\n");
        }

        page.Append("</table>\n");
    }

    private static void Scans(StringBuilder page, TemplateFolder folder, IReadOnlyList<TemplateScan> scans, TemplateRound last)
    {
        page.Append("<h2>Scans</h2>\n<table>\n<tr><th>Scan</th><th>Verdict</th><th class=\"number\">Mean deformation,&nbsp;mm</th><th class=\"number\">Weight</th><th>Reasons</th></tr>\n");
        foreach ((TemplateScan scan, TemplateRecord record) in scans
            .Select(scan => (Scan: scan, Record: folder.TryRecord(last.Round, scan.Name)!))
            .OrderByDescending(row => row.Record.Verdict == "failed" ? 2 : row.Record.Verdict == "look" ? 1 : 0))
        {
            string remark = (last.LeftOut.Contains(scan.Name) ? "not in the average. " : string.Empty) + string.Join("; ", record.Reasons);
            page.Append(CultureInfo.InvariantCulture, $"<tr><td>{ReportPage.Encode(scan.Name)}</td><td>{record.Verdict}</td><td class=\"number\">{record.MeanDeformationMm:F2}</td>");
            page.Append(CultureInfo.InvariantCulture, $"<td class=\"number\">{scan.Weight:G4}</td><td class=\"remark\">{ReportPage.Encode(remark)}</td></tr>\n");
        }

        page.Append("</table>\n");
    }
}
