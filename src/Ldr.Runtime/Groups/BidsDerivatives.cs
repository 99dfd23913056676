namespace Ldr.Runtime.Groups;

/// <summary>Registrations of BIDS scans to a template, under the names of BIDS derivatives (1.9).</summary>
public static class BidsDerivatives
{
    /// <summary>A pair for each scan, whose files have the names of derivatives.</summary>
    /// <param name="scans">The scans.</param>
    /// <param name="template">What they are registered to.</param>
    /// <param name="templateName">Its name in the names of files: letters and digits.</param>
    /// <param name="suffix">The suffix of the scans, such as <c>T1w</c>.</param>
    /// <exception cref="ArgumentException">The template's name has other characters, or none.</exception>
    public static CohortPlan Pairs(IReadOnlyList<BidsScan> scans, CohortScan template, string templateName, string suffix = "T1w")
    {
        ArgumentException.ThrowIfNullOrEmpty(templateName);
        if (!templateName.All(char.IsAsciiLetterOrDigit))
        {
            throw new ArgumentException("give letters and digits", nameof(templateName));
        }

        return new CohortPlan([.. scans.Select(scan => new CohortPair(scan.Name, template, scan.Scan) { Files = Files(scan, templateName, suffix) })], []);
    }

    /// <summary>Writes <c>dataset_description.json</c> into a folder of derivatives, unless it is there.</summary>
    /// <param name="folder">The folder, made where it is missing.</param>
    /// <param name="source">The BIDS folder whose scans were registered.</param>
    /// <param name="program">The name of the program that registers.</param>
    /// <param name="version">Its version.</param>
    public static void Describe(string folder, string source, string program, string version)
    {
        Directory.CreateDirectory(folder);
        string file = Path.Combine(folder, "dataset_description.json");
        if (File.Exists(file))
        {
            return;
        }

        JsonText.Write(file, json =>
        {
            json.WriteString("Name", $"Registrations by {program}");
            json.WriteString("BIDSVersion", "1.9.0");
            json.WriteString("DatasetType", "derivative");
            json.WriteStartArray("GeneratedBy");
            json.WriteStartObject();
            json.WriteString("Name", program);
            json.WriteString("Version", version);
            json.WriteEndObject();
            json.WriteEndArray();
            json.WriteStartArray("SourceDatasets");
            json.WriteStartObject();
            json.WriteString("URL", new Uri(Path.GetFullPath(source)).AbsoluteUri);
            json.WriteEndObject();
            json.WriteEndArray();
        });
    }

    private static PairFiles Files(BidsScan scan, string template, string suffix)
    {
        string name = scan.Name;
        string registered = $"{name}_space-{template}_desc-registration";
        string folder = scan.Session is null ? scan.Participant : $"{scan.Participant}/{scan.Session}";
        return new PairFiles($"{folder}/anat")
        {
            Moved = $"{name}_space-{template}_desc-registered_{suffix}.nii.gz",
            Transform = $"{name}_from-{suffix}_to-{template}_mode-image_xfm",
            Inverse = $"{name}_from-{template}_to-{suffix}_mode-image_xfm",
            Labels = $"{name}_space-{template}_dseg.nii.gz",
            Points = $"{name}_space-{template}_points",
            Report = $"{registered}_report.html",
            Picture = $"{registered}_picture.png",
            Result = $"{registered}_result.json",
            Problem = $"{registered}_problem.json",
        };
    }
}
