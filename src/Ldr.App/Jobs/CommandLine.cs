using System.Globalization;
using Ldr.App.Sessions;

namespace Ldr.App.Jobs;

/// <summary>A job as a command for a POSIX shell.</summary>
internal static class CommandLine
{
    public static string Of(JobRequest request, string model, Inbox inbox)
    {
        List<string> words = ["ldr-fs", "register"];
        void Add(string option, string? value)
        {
            if (value is not null)
            {
                words.AddRange([option, Quoted(value)]);
            }
        }

        string? File(string? id) => id is null ? null : inbox.Get(id).Argument;
        static string? Number(IFormattable? number) => number?.ToString(null, CultureInfo.InvariantCulture);
        Add("--fixed", File(request.Fixed));
        Add("--moving", File(request.Moving));
        Add("--model", model);
        Add("--affine", request.Affine);
        Add("--init", File(request.Init));
        Add("--refine", Number(request.Refine));
        Add("--budget", Number(request.Budget));
        Add("--control-spacing", Number(request.ControlSpacing));
        Add("--log-jacobian", Number(request.LogJacobian));
        if (request.Diffeomorphic)
        {
            words.Add("--diffeomorphic");
        }

        if (request.JacobianBounds is [double least, double most])
        {
            words.AddRange(["--jacobian-bounds", Number(least)!, Number(most)!]);
        }

        Add("--fixed-mask", File(request.FixedMask));
        Add("--moving-mask", File(request.MovingMask));
        Add("--volume", Number(request.Volume));
        Add("--labels", File(request.Labels));
        Add("--moved-labels", request.Labels is null ? null : "moved-labels.nii.gz");
        words.AddRange(["--moved", "moved.nii.gz", "--transform", "transform.nii.gz"]);
        return string.Join(' ', words);
    }

    private static string Quoted(string text) =>
        text.Length > 0 && text[0] != '-' && text.All(c => char.IsAsciiLetterOrDigit(c) || "-_./:=,+@%".Contains(c, StringComparison.Ordinal))
            ? text
            : "'" + text.Replace("'", "'\\''", StringComparison.Ordinal) + "'";
}
