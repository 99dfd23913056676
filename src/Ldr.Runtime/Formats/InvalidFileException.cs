namespace Ldr.Runtime.Formats;

/// <summary>A file cannot be read or written as asked, and the user can mend it.</summary>
public sealed class InvalidFileException : Exception
{
    private const int Longest = 400;

    /// <summary>Makes the error; its message is one line, <c>{path}: {problem}; {remedy}</c>.</summary>
    /// <param name="path">The file, as the user named it.</param>
    /// <param name="problem">What is wrong.</param>
    /// <param name="remedy">What would be right.</param>
    /// <param name="inner">The cause, if another error showed it.</param>
    public InvalidFileException(string path, string problem, string remedy, Exception? inner = null)
        : base($"{OneLine(path)}: {Short(problem)}; {Short(remedy)}", inner)
    {
        Path = path;
        Problem = Short(problem);
        Remedy = Short(remedy);
    }

    /// <summary>The file, as the user named it.</summary>
    public string Path { get; }

    /// <summary>What is wrong.</summary>
    public string Problem { get; }

    /// <summary>What would be right.</summary>
    public string Remedy { get; }

    /// <summary>Text from files may be of any length.</summary>
    private static string Short(string text) => OneLine(text.Length <= Longest ? text : text[..Longest] + "…");

    /// <summary>Text from files may hold line breaks and terminal codes.</summary>
    private static string OneLine(string text) =>
        string.Create(text.Length, text, static (target, from) =>
        {
            for (int i = 0; i < from.Length; i++)
            {
                target[i] = char.IsControl(from[i]) || from[i] is '\u2028' or '\u2029' ? ' ' : from[i];
            }
        });
}
